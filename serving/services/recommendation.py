"""What a recommendation is: the question, the answer and their parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from recsys.decision.catalogue import OfferText
from recsys.decision.explain import Reason
from recsys.decision.refusals import Refusal
from recsys.domain import Basis, Change, ClientId, Language, Price, Profile, Target
from serving.orders import Assignment
from serving.ports import LoggedDecision


@dataclass(frozen=True, slots=True)
class ListWanted:
    """A list that is asked for.

    Attributes:
        placement_id: Where it will be shown.
        k: Length wanted; None = the placement's own.
    """

    placement_id: str
    k: int | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A request for recommendations.

    Attributes:
        client_id: The company; it may be unknown.
        lists: The lists wanted; an offer is shown in the first that takes it.
        member_id: The person, where known.
        role: Role of that person, where known.
        spending_limit_minor: The most that the person may spend, ≥0; None = no limit.
        channel: Where it will be shown.
        language: Language of titles and reasons.
        excluded: Offers not wanted.
        profile: What is known of a company of which no profile is stored.
        is_explained: Whether the answer lists the refused offers.
    """

    client_id: ClientId
    lists: tuple[ListWanted, ...]
    member_id: str | None = None
    role: str | None = None
    spending_limit_minor: int | None = None
    channel: str | None = None
    language: Language = Language.RU
    excluded: frozenset[str] = field(default_factory=frozenset)
    profile: Profile | None = None
    is_explained: bool = False


class Item(NamedTuple):
    """One offer of a list.

    Attributes:
        offer: What is shown of it whoever the client is.
        change: What taking it would change.
        rank: 1-based.
        probability: 0–1, of what `Recommendation.target` says; None without models, and for a change
            that they do not estimate.
        price: The price for this client, where one is known.
        reasons: Why it is shown, strongest first.
        logging_probability: P(this offer at this rank | the ranks above), 0–1.
    """

    offer: OfferText
    change: Change
    rank: int
    probability: float | None
    price: Price | None
    reasons: tuple[Reason, ...]
    logging_probability: float


class RecommendedList(NamedTuple):
    """The list for one placement.

    Attributes:
        placement_id: Where it is shown.
        decision_id: Under which it is logged; events refer to it.
        items: The offers; fewer than asked for where nothing else may be shown.
        refusals: Every offer that is no candidate here, with the rule; empty unless asked for.
    """

    placement_id: str
    decision_id: str
    items: tuple[Item, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Versions:
    """What an answer was made with.

    Attributes:
        policy: Version of the policy.
        catalogue: Digest of the offers.
        bundle: Version of the models; None when none was used.
        state: Version of the client's state; 0 for an unknown client.
    """

    policy: str
    catalogue: str
    bundle: str | None
    state: int


class Recommendation(NamedTuple):
    """The answer to a `Query`.

    Attributes:
        client_id: The company.
        is_client_known: Whether it is stored.
        basis: On what the scores rest.
        is_personalised: Whether the client's own data ordered the lists.
        degraded: Why a fallback was used; None when none was.
        target: What the probabilities are probabilities of; None without models.
        currency: ISO code of the prices; None when the data names none.
        versions: What it was made with.
        valid_until: Until then the same question gets the same draws.
        lists: One for each list wanted, in that order.
        is_held_out: Whether the client is held out from all that is measured: it sees business as usual.
    """

    client_id: ClientId
    is_client_known: bool
    basis: Basis
    is_personalised: bool
    degraded: str | None
    target: Target | None
    currency: str | None
    versions: Versions
    valid_until: datetime
    lists: tuple[RecommendedList, ...]
    is_held_out: bool = False


class Prepared(NamedTuple):
    """An answer that is not logged yet.

    Attributes:
        recommendation: The answer.
        decisions: The rows of the decision log, one for each list.
        assignments: What is to be stored with them of experiments; of what is stored already nothing.
    """

    recommendation: Recommendation
    decisions: tuple[LoggedDecision, ...]
    assignments: tuple[Assignment, ...] = ()
