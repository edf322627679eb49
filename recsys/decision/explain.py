"""Plain reasons for an offer, from whitelisted facts only.

A reason rests on what the client itself has, on a kind of company, on popularity or on the price. What is
true is decided where the counts are (`Scorer.explain`); here it finds its words, if at least `min_cohort`
clients stand behind it. Nothing that could point at a person or at another company gets in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.decide import Slot
from recsys.decision.policy.policy import Policy
from recsys.domain import Change, ClientState, HoldingsKind, Language, Offer, Price, PricePeriod
from recsys.models.base import Evidence, EvidenceKind
from recsys.texts import cohort_phrase, day_and_month_text, reason_text

_PERIOD_CODES = {
    PricePeriod.MONTH: "price_month",
    PricePeriod.ONCE: "price_once",
    PricePeriod.USAGE: "price_usage",
}
# A monthly fee is what everybody expects: it is said only where little else can be.
_ENOUGH_REASONS = 2
# The same words on every card of an answer tell nothing: nothing is said of one service more often.
_MAX_MENTIONS = 2
_OF_HOLDINGS = (Change.RENEW, Change.EXPAND, Change.RETAIN)
# An enum looks its members up anew each time.
_HOLDING, _POPULAR, _UPGRADE = EvidenceKind.HOLDING, EvidenceKind.POPULAR, Change.UPGRADE
_POPULAR_FACT = ("popular", "")
# True of most offers, so it tells little: said only where nothing but the price could be.
_CHOSEN_FACT = ("chosen", "")


class Reason(NamedTuple):
    """One reason.

    Attributes:
        code: Stable name; see `recsys.texts.REASONS`.
        text: One sentence in the language asked for.
    """

    code: str
    text: str


@lru_cache(maxsize=8192)
def _reason(code: str, language: Language, subject: str) -> Reason:
    return Reason(code, reason_text(code, language, subject))


class Explainer:
    """Explains the slots of one request, in the order of the answer.

    No service of the client is named more than twice in one answer, and no open need said more often
    unless nothing else can be said; only a next edition always names the present one. That others chose it
    is said where nothing but the price could be. What is renewed, expanded or retained says so, and nothing
    that would sell it anew.

    Args:
        catalogue: The compiled catalogue.
        state: The client's state.
        language: Language of the sentences.
        policy: Its `min_cohort` and `max_reasons`.
        is_personalised: False leaves only reasons that hold for everybody, and why something held is renewed,
            expanded or retained.
        holdings: Whether the client connects services or buys products.
    """

    def __init__(
        self,
        catalogue: CompiledCatalogue,
        state: ClientState,
        language: Language,
        policy: Policy,
        *,
        is_personalised: bool,
        holdings: HoldingsKind = HoldingsKind.SUBSCRIPTIONS,
    ) -> None:
        self._catalogue = catalogue
        self._language = language
        self._policy = policy
        self._is_personalised = is_personalised
        self._together_code = "bought_with" if holdings is HoldingsKind.PURCHASES else "taken_with"
        self._n_mentions: dict[str, int] = {}
        self._n_open_needs = 0
        self._state = state
        self._held: Mapping[str, None] = (
            dict.fromkeys([holding.offer_id for holding in state.holdings]) if is_personalised else {}
        )
        positions = catalogue.positions
        self._met_groups = {
            catalogue.offers[positions[offer_id]].need_group
            for offer_id in self._held
            if offer_id in positions
        }

    def reasons(self, slot: Slot, evidence: Iterable[Evidence], price: Price | None) -> tuple[Reason, ...]:
        """The strongest reasons for one slot, at most `max_reasons`, no code twice.

        Args:
            slot: The slot, the next one of the answer.
            evidence: What is true of the offer, the strongest first; the first that has words is said.
            price: The price for this client.
        """
        offer = self._catalogue.offers[slot.position]
        facts: list[tuple[str, str]] = []
        if slot.change in _OF_HOLDINGS:
            facts.append((slot.change.value, self._term_end(offer) if slot.change is Change.RENEW else ""))
        else:
            self._add_sale(facts, offer, slot, evidence, is_priced=price is not None)
        if price is not None:
            _add_price(facts, price, is_personalised=self._is_personalised)
        return tuple(
            [_reason(code, self._language, subject) for code, subject in facts[: self._policy.max_reasons]]
        )

    def _term_end(self, offer: Offer) -> str:
        """The day on which the first term of what the client has of it ends; empty where none is known."""
        ends = [
            holding.term_ends_on
            for holding in self._state.holdings
            if holding.offer_id == offer.offer_id and holding.term_ends_on is not None
        ]
        return day_and_month_text(min(ends), self._language) if ends else ""

    def _add_sale(
        self,
        facts: list[tuple[str, str]],
        offer: Offer,
        slot: Slot,
        evidence: Iterable[Evidence],
        *,
        is_priced: bool,
    ) -> None:
        """Why to take what the client does not have."""
        if self._held:
            self._add_holding(facts, offer, slot)
        told = self._told(offer, slot, evidence)
        if told is not None and told is not _CHOSEN_FACT:
            facts.append(told)
        is_said_enough = self._n_open_needs >= _MAX_MENTIONS and (facts or is_priced)
        if len(facts) < _ENOUGH_REASONS and not is_said_enough and self._is_open(offer):
            self._n_open_needs += 1
            facts.append(("need_open", ""))
        if told is not None and not facts:
            facts.append(told)

    def _add_holding(self, facts: list[tuple[str, str]], offer: Offer, slot: Slot) -> None:
        """What the client has and the offer replaces or requires."""
        if slot.change is _UPGRADE:
            upgrades = self._catalogue.upgrades
            for offer_id in self._held:
                if upgrades.get(offer_id) == slot.position:
                    facts.append(("upgrade", self._title(offer_id)))
                    return
            return
        for group in offer.requires:
            for offer_id in group:
                if offer_id in self._held and (title := self._mention(offer_id)):
                    facts.append(("works_with", title))
                    return

    def _told(self, offer: Offer, slot: Slot, evidence: Iterable[Evidence]) -> tuple[str, str] | None:
        """The first thing that enough clients stand behind and that has words."""
        for one in evidence:
            if one.n_clients is None or one.n_clients < self._policy.min_cohort:
                continue
            if not one.subject:
                return _POPULAR_FACT if one.kind is _POPULAR else _CHOSEN_FACT
            if not self._is_personalised:
                continue
            if one.kind is _HOLDING:
                if self._is_news(offer, slot, one.subject) and (title := self._mention(one.subject)):
                    return self._together_code, title
            elif one.subject.startswith("region="):
                return "region", ""
            elif phrase := cohort_phrase(one.subject, self._language):
                return "cohort", phrase
        return None

    def _is_open(self, offer: Offer) -> bool:
        """Whether the client has something, but nothing for the offer's need."""
        return bool(self._held) and offer.need_group is not None and offer.need_group not in self._met_groups

    def _is_news(self, offer: Offer, slot: Slot, subject: str) -> bool:
        """Whether the client has it, and it was not said as what the offer requires or replaces."""
        return (
            subject in self._held
            and subject != offer.offer_id
            and self._catalogue.upgrades.get(subject) != slot.position
            and not any(subject in group for group in offer.requires)
        )

    def _mention(self, offer_id: str) -> str:
        """The title of a service that is about to be named; empty where it was named enough."""
        if self._n_mentions.get(offer_id, 0) >= _MAX_MENTIONS:
            return ""
        return self._title(offer_id)

    def _title(self, offer_id: str) -> str:
        title = self._catalogue.title(offer_id, self._language) or ""
        if title:
            self._n_mentions[offer_id] = self._n_mentions.get(offer_id, 0) + 1
        return title


def _add_price(facts: list[tuple[str, str]], price: Price, *, is_personalised: bool) -> None:
    if price.amount_minor == 0:
        facts.append(("price_free", ""))
        return
    if is_personalised and price.region is not None:
        facts.append(("price_region", ""))
    if is_personalised and price.size is not None:
        facts.append(("price_size", ""))
    if price.period is not PricePeriod.MONTH or len(facts) < _ENOUGH_REASONS:
        facts.append((_PERIOD_CODES[price.period], ""))
