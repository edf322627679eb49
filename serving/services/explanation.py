"""Use cases: why a client sees these offers and not those, and whether it may have a certain one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from recsys.config import nearest_name
from recsys.data.state import present
from recsys.decision.account import Account, Accountant, Suppressed
from recsys.decision.decide import judge
from recsys.decision.policy.engagement import RuleSpec
from recsys.decision.refusals import RefusalStage
from recsys.decision.rulebook import NO_RULE
from recsys.decision.situation import Situation
from recsys.decision.volume import period_of
from recsys.domain import Change, ClientState, Language, Price, Profile
from recsys.errors import InvalidRequestError, RecsysError, UnknownOfferError
from recsys.history import History
from recsys.texts import refusal_text
from serving.ports import MAX_CLOCK_SKEW
from serving.services.arms import InArms, decide_in_arms
from serving.services.recommend import write_down
from serving.services.recommendation import Query, Recommendation
from serving.services.services import Services
from serving.services.sighting import Decided, decide_together, sight, sight_all, situation_of
from serving.services.trials import Enrolment
from serving.services.world import World

_HARD_STAGES = (RefusalStage.AVAILABILITY, RefusalStage.ELIGIBILITY)


class ExplainedArm(NamedTuple):
    """An experiment that a client is in.

    Attributes:
        enrolment: The arm, and what is stored of it.
        is_different: Whether another arm would show another list now; of the hold-out always so.
    """

    enrolment: Enrolment
    is_different: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """A recommendation that was not given, and its accounts.

    Attributes:
        recommendation: What the client would be shown now; it is logged nowhere.
        accounts: One for each of its lists.
        world: The policy and the catalogue behind it.
        arms: The experiments that the client is in, the hold-out first: what they say decided.
    """

    recommendation: Recommendation
    accounts: tuple[Account, ...]
    world: World
    arms: tuple[ExplainedArm, ...] = ()


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Whether a client may have an offer.

    Attributes:
        offer_id: The offer.
        title: Its title.
        change: What taking it would change.
        price: For this client, where one is known.
        refusal: Why it may not, in words for the client; None when it may.
        is_proposed: Whether the policy would propose it by itself.
    """

    offer_id: str
    title: str
    change: Change
    price: Price | None
    refusal: Suppressed | None
    is_proposed: bool


@dataclass(frozen=True, slots=True)
class EligibilityQuery:
    """Which offers a client wants to have.

    Attributes:
        query: The client and the member; its lists are not read.
        offer_ids: The offers.
        at: When it wants to connect them; None = now.
    """

    query: Query
    offer_ids: tuple[str, ...]
    at: datetime | None = None


async def explain(services: Services, query: Query) -> Explanation:
    """Decide as `recommend` would now, log nothing, and account for every offer.

    Raises:
        UnknownPlacementError: A placement does not exist.
        InvalidRequestError: A list is longer than its placement allows.
    """
    found = await _decide(services, query)
    sighted, situation, decision = found.decided
    accountant = Accountant(situation, sighted.world.engine, query.language, sighted.world.currency)
    return Explanation(
        recommendation=write_down(sighted, decision),
        accounts=tuple([accountant.account(slate) for slate in decision.slates]),
        world=sighted.world,
        arms=tuple(
            [
                ExplainedArm(enrolment, any(differs))
                for enrolment, differs in zip(found.enrolments, found.differs, strict=True)
            ]
        ),
    )


async def _decide(services: Services, query: Query) -> InArms:
    world = services.scoring.world
    sighted = await sight_all(services, world, [query])
    found: Sequence[InArms | Decided | RecsysError]
    if world.trials is None:
        found = decide_together(services, sighted)
    else:
        found = decide_in_arms(services, world.trials, [query], sighted)
    if isinstance(found[0], RecsysError):
        raise found[0]
    return found[0] if isinstance(found[0], InArms) else InArms(found[0], ())


async def check_eligibility(services: Services, wanted: EligibilityQuery) -> tuple[Eligibility, ...]:
    """Whether a client may have offers, at a chosen time, and what would help where it may not.

    Availability and eligibility decide. What the policy thinks of relevance only says whether it would
    propose the offer; the contact policy has no say, for the client asks by itself. What is announced for
    later, a stop or another policy, is not looked ahead to.

    Returns:
        One answer for each offer, in the order of the question.

    Raises:
        UnknownOfferError: The catalogue does not have an offer; the text names the one most like it.
        InvalidRequestError: The time lies in the past.
    """
    query = replace(wanted.query, lists=())
    sighted = await sight(services, query)
    at = sighted.now if wanted.at is None else wanted.at
    if at < sighted.now - MAX_CLOCK_SKEW:
        raise InvalidRequestError("at", f"{at.isoformat()} lies in the past; leave it out for now")
    state = _uncontacted(present(sighted.state, at))
    engine = sighted.world.engine
    used_up = services.scoring.used_up_caps(sighted.world)
    still_used_up = frozenset(
        cap.id
        for cap in engine.policy.engagement.volume_caps
        if cap.id in used_up and at < period_of(cap.per, sighted.now, engine.zone)[1]
    )
    situation = situation_of(services, sighted)
    restrictions = replace(situation.restrictions, used_up_caps=still_used_up)
    situation = replace(situation, state=state, now=at, restrictions=restrictions)
    positions = _positions(sighted.world, wanted.offer_ids)
    return tuple(_eligibilities(situation, sighted.world, positions))


def _eligibilities(situation: Situation, world: World, positions: Sequence[int]) -> Iterator[Eligibility]:
    engine = world.engine
    catalogue, profile = engine.catalogue, situation.state.profile or Profile()
    accountant = Accountant(situation, engine, situation.language, world.currency)
    verdicts = judge(situation, engine, None)
    prices, texts = catalogue.prices(profile.region, profile.size), catalogue.texts[situation.language]
    for position in positions:
        is_against = verdicts.numbers[position] != NO_RULE
        against = accountant.suppressed(verdicts, position) if is_against else None
        is_hard = against is not None and against.rule.stage in _HARD_STAGES
        yield Eligibility(
            offer_id=catalogue.offer_ids[position],
            title=texts[position].title,
            change=verdicts.change_of(position),
            price=prices[position],
            refusal=_for_client(against, situation.language) if against is not None and is_hard else None,
            is_proposed=against is None,
        )


def _for_client(refusal: Suppressed, language: Language) -> Suppressed:
    """The refusal in words that the policy wrote for clients or that speak of no condition of a rule."""
    spec = refusal.rule.spec
    if not isinstance(spec, RuleSpec):
        return refusal
    if spec.title is not None and refusal.text == spec.title.in_language(language):
        return refusal
    if refusal.cure is not None and refusal.cure.code == "tell_fact":
        return refusal
    return replace(refusal, text=refusal_text("not_for_client", language))


def _uncontacted(state: ClientState) -> ClientState:
    """The state without anything that the contact policy reads."""
    history = state.history
    return replace(state, dismissals=(), history=History(history.months, history.activity))


def _positions(world: World, offer_ids: Sequence[str]) -> list[int]:
    positions = world.catalogue.positions
    for offer_id in offer_ids:
        if offer_id not in positions:
            raise unknown_offer(offer_id, positions)
    return [positions[offer_id] for offer_id in offer_ids]


def unknown_offer(offer_id: str, known: Iterable[str]) -> UnknownOfferError:
    """The error for an offer that the catalogue does not have; it names the one most like it.

    Example:
        >>> str(unknown_offer("RKO", ["bank-a-rko", "pbx"]))
        "unknown offer 'RKO'; did you mean 'bank-a-rko'?"
    """
    names = sorted(known)
    written = offer_id.casefold()
    nearest = nearest_name(written, names) or next((name for name in names if written in name), None)
    return UnknownOfferError(
        offer_id, f"did you mean {nearest!r}?" if nearest else "the list of offers names those that exist"
    )
