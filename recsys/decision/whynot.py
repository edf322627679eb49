"""Why a client cannot have an offer, as one sentence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.compile import ConditionSet
from recsys.decision.conditions.facts import Moment
from recsys.decision.conditions.sentences import clause
from recsys.decision.conditions.syntax import Condition
from recsys.decision.conditions.vocabulary import CONTEXT, field_fact
from recsys.decision.policy.contact import ContactCap
from recsys.decision.policy.engagement import RuleSpec
from recsys.decision.refusals import Rule
from recsys.domain import ClientState, Language, LegalForm, Profile
from recsys.texts import (
    TELLABLE_FACTS,
    currency_sign,
    fact_text,
    figure_text,
    join_facts,
    one_of_text,
    refusal_text,
)


class WhyNot:
    """Puts refusals into words.

    Args:
        catalogue: The compiled catalogue.
        segments: The policy's segments.
        language: Language of the sentences.
        currency: ISO code of amounts; None where it is not known.
    """

    def __init__(
        self,
        catalogue: CompiledCatalogue,
        segments: Mapping[str, Condition],
        language: Language,
        currency: str | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._segments = segments
        self._language = language
        self._currency = currency_sign(currency)

    def text(self, rule: Rule, position: int, state: ClientState, moment: Moment) -> str:
        """Why the client cannot have the offer.

        A rule that refuses because nobody knows whether its condition holds says what is not known: its
        title speaks of a condition that is known.

        Args:
            rule: The rule that refuses it.
            position: The offer.
            state: The client; what it holds may be named.
            moment: The moment of the decision.
        """
        spec, language = rule.spec, self._language
        unknown = unknown_facts(rule, state, moment, self._catalogue, self._segments)
        if unknown and all(unknown):
            names = [_name_of(fact, language) for fact in unknown]
            return refusal_text("fact_unknown", language, join_facts(names, language))
        if spec is not None and spec.title is not None and not unknown:
            return spec.title.in_language(language)
        if isinstance(spec, RuleSpec):
            condition = clause(spec.condition, self._segments, language, self._catalogue, self._currency)
            condition = condition[:1].lower() + condition[1:]
            return refusal_text("never_if" if spec.is_refused_when_true else "only_if", language, condition)
        code = f"{rule.code}_{spec.of}" if isinstance(spec, ContactCap) else rule.code
        return refusal_text(code, language, self._subject(rule, position, state))

    def _subject(self, rule: Rule, position: int, state: ClientState) -> str:
        if rule.code == "requires":
            return one_of_text(
                self._titles(missing_groups(self._catalogue, position, state)[0]), self._language
            )
        if rule.code in ("exclusive_slot", "excludes"):
            return self._titles([obstacle(self._catalogue, rule, position, state)])[0]
        return ""

    def _titles(self, offer_ids: Sequence[str]) -> list[str]:
        return [self._catalogue.title(offer_id, self._language) or offer_id for offer_id in offer_ids]


def obstacle(catalogue: CompiledCatalogue, rule: Rule, position: int, state: ClientState) -> str:
    """The held offer beside which another one cannot stand.

    Raises:
        ValueError: The client holds nothing by which that rule refuses the offer.
    """
    offer = catalogue.offers[position]
    for holding in state.holdings:
        held_id = holding.offer_id
        other = catalogue.positions.get(held_id)
        if rule.code == "exclusive_slot":
            if other is not None and catalogue.offers[other].exclusive_slot == offer.exclusive_slot:
                return held_id
        # an edition does not stand in the way of its own successor
        elif position in catalogue.conflicts.get(held_id, ()) and catalogue.upgrades.get(held_id) != position:
            return held_id
    raise ValueError(f"nothing that the client holds refuses {offer.offer_id!r} by {rule.rule_id!r}")


def missing_groups(catalogue: CompiledCatalogue, position: int, state: ClientState) -> list[tuple[str, ...]]:
    """The groups of an offer's prerequisites of which the client holds nothing."""
    held = {holding.offer_id for holding in state.holdings}
    return [group for group in catalogue.offers[position].requires if held.isdisjoint(group)]


def unknown_facts(
    rule: Rule,
    state: ClientState,
    moment: Moment,
    catalogue: CompiledCatalogue,
    segments: Mapping[str, Condition],
) -> list[str]:
    """The facts that are missing, where that is why a rule refuses; else none.

    Args:
        rule: The rule that refuses.
        state: The client.
        moment: The moment of the decision.
        catalogue: What scopes in conditions mean.
        segments: The policy's segments.

    Returns:
        Names of fields and parts of the context, each once; an empty name stands for a time since something
        that never happened.
    """
    profile = state.profile or Profile()
    if rule.code == "region":
        return [] if profile.region is not None else ["region"]
    if rule.code == "legal_form":
        return [] if profile.legal_form is not LegalForm.UNKNOWN else ["legal_form"]
    if not isinstance(rule.spec, RuleSpec) or not rule.spec.is_refused_when_unknown:
        return []
    parts = _below(rule.spec.condition, segments)
    truth = ConditionSet(list(parts), segments, catalogue).evaluate([state], moment)
    is_known = (truth.is_true | truth.is_false)[:, 0].tolist()
    unknown = {part for part, known in zip(parts, is_known, strict=True) if not known}
    # what leaves a group undecided is those of its parts that are undecided themselves
    facts = [part for part in _below(rule.spec.condition, segments, unknown) if part.fact is not None]
    return list(dict.fromkeys([part.field or part.context or "" for part in facts]))


def _below(
    condition: Condition, segments: Mapping[str, Condition], wanted: Collection[Condition] | None = None
) -> dict[Condition, None]:
    """A condition and all it is made of, each once; with `wanted`, only what is reached through those."""
    found: dict[Condition, None] = {}
    waiting = [condition]
    while waiting:
        part = waiting.pop()
        if part in found or (wanted is not None and part not in wanted):
            continue
        found[part] = None
        inner = [*(part.all_of or ()), *(part.any_of or ())]
        inner += [part.negated] if part.negated is not None else []
        inner += [segments[part.segment]] if part.segment is not None else []
        waiting += reversed(inner)
    return found


def _name_of(fact: str, language: Language) -> str:
    """A fact as the object of a sentence."""
    if fact in TELLABLE_FACTS:
        return fact_text(fact, language)
    known = CONTEXT.get(fact) or field_fact(fact)
    assert known is not None  # noqa: S101 – no other can be written
    return figure_text((known.en if language is Language.EN else known.ru)[0], language)
