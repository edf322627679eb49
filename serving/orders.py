"""What people order, to be appended and never changed: policies, stops, experiments, bundles.

`Assignment` and `ShadowDecision` stand beside them: what an experiment made of one client, and what models in
shadow would have made of one decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """A policy as it was published; never changed afterwards.

    Attributes:
        version: Digest of the documents, 16 hexadecimal digits.
        documents: Texts by file name.
        effective_at: In force from here on, until another one is.
        recorded_at: When it was said.
        author: Who said it: a key_id, or ``command line``.
        note: What is new, for people.
        is_withdrawal: False = published; True = what was announced before of this version for this moment is
            called off.
    """

    version: str
    documents: Mapping[str, str]
    effective_at: datetime
    recorded_at: datetime
    author: str
    note: str = ""
    is_withdrawal: bool = False


@dataclass(frozen=True, slots=True)
class OfferStop:
    """An offer was taken off by hand, or put back; never changed afterwards.

    A resumption lifts every stop that was said before it, from its own moment on: those in force end there,
    and those announced for later do not begin. A stop that is said after it stands.

    Attributes:
        offer_id: The offer.
        is_stopped: True = taken off, False = put back.
        reason: Why, for people.
        author: Who did it: a key_id, or ``command line``.
        effective_at: From when on.
        recorded_at: When it was said.
    """

    offer_id: str
    is_stopped: bool
    reason: str
    author: str
    effective_at: datetime
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class ExperimentOrder:
    """What was said of an experiment, or of the hold-out; the order of the highest number stands.

    Attributes:
        experiment_id: The experiment; `HOLDOUT_ID` = the hold-out.
        number: 1 for the first order of this experiment, then one more each time.
        status: ``draft``, ``running``, ``stopped`` or ``decided``; the hold-out is ``running``.
        document: JSON of the whole `recsys.experiments.life.Standing` from here on; of the hold-out its
            `recsys.experiments.experiment.Holdout`.
        author: Who said it: a key_id, ``command line``, or ``guardrail`` for a stop without a person.
        reason: Why, for people.
        recorded_at: When it was said; it holds from then on.
    """

    experiment_id: str
    number: int
    status: str
    document: str
    author: str
    reason: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Assignment:
    """The arm of a client in an experiment.

    Attributes:
        experiment_id: The experiment; `HOLDOUT_ID` = the hold-out.
        client_id: The company.
        unit_id: What was assigned: its account group, or itself; see `recsys.experiments.assignment.unit_of`.
        arm: Name of the arm; of the hold-out ``held_out`` or ``treated``.
        assigned_at: When it first stood.
        triggered_at: When its lists first differed between the arms; None = they did not yet.
        trigger_decision_id: The decision with those lists.
        is_forced: Put into the arm by hand, and left out of every analysis.
    """

    experiment_id: str
    client_id: str
    unit_id: str
    arm: str
    assigned_at: datetime
    triggered_at: datetime | None = None
    trigger_decision_id: str | None = None
    is_forced: bool = False


class BundleAction(StrEnum):
    """What may be said of a bundle."""

    PUBLISH = "publish"
    SHADOW = "shadow"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    PIN = "pin"
    UNPIN = "unpin"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class BundleOrder:
    """What was said of a bundle; what stands follows from all of it, in the order of the numbers.

    Attributes:
        number: 1 for the first order of all, then one more each time.
        version: The bundle; of a roll-back the one that is live again.
        folder: Its folder's name in the folder of bundles.
        digest: SHA-256 of its manifest, which names the digest of every other file.
        action: What was said.
        author: Who said it: a key_id, or ``command line``.
        reason: Why, for people.
        judgement: What the gate said of a promotion, and who overrode it; "" = nothing was judged.
        recorded_at: When it was said; it holds from then on.
    """

    number: int
    version: str
    folder: str
    digest: str
    action: BundleAction
    author: str
    reason: str
    judgement: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class ShadowDecision:
    """What models in shadow would have shown instead of a decision's list; see `recsys.tables`."""

    decision_id: str
    bundle_version: str
    live_version: str
    placement_id: str
    client_size: str | None
    occurred_at: datetime
    recorded_at: datetime
    n_shown: int
    n_differing: int
    n_candidates: int
    rank_correlation: float | None
    mean_difference: float | None


@dataclass(frozen=True, slots=True)
class ShadowFigures:
    """How much a bundle in shadow disagrees with the live ones, over the decisions of one kind.

    Attributes:
        live_version: The models that decided.
        placement_id: Where.
        client_size: Size class of the clients; None = not known.
        n_decisions: How many.
        n_shown: Offers shown.
        n_differing: Of them, those that the shadow's lists lack.
        n_correlations: Decisions with a rank correlation.
        sum_of_correlations: Their sum.
        n_differences: Decisions with a mean difference of probabilities.
        sum_of_differences: Their sum.
    """

    live_version: str
    placement_id: str
    client_size: str | None
    n_decisions: int
    n_shown: int
    n_differing: int
    n_correlations: int
    sum_of_correlations: float
    n_differences: int
    sum_of_differences: float


class ContentVersion(NamedTuple):
    """How often what is decided with has changed; each number only grows.

    Attributes:
        tables: Changes of the catalogue's tables and of the documents.
        policies: Policies and withdrawals whose moment has come.
        stops: Stops and resumptions whose moment has come.
        experiments: Orders of experiments and of the hold-out.
        bundles: Orders of bundles.
    """

    tables: int
    policies: int
    stops: int
    experiments: int = 0
    bundles: int = 0


class BundleStore(Protocol):
    """The part of `serving.ports.Store` that keeps what is said of bundles."""

    def put_bundle_order(self, order: BundleOrder) -> None:
        """Append an order; ConflictError if another one took its number: somebody was faster."""
        ...

    def bundle_orders(self) -> list[BundleOrder]:
        """Everything that was said of bundles, by number."""
        ...

    def put_shadow_decisions(self, found: Sequence[ShadowDecision]) -> None:
        """Keep what models in shadow would have shown; what is kept already stays."""
        ...

    def shadow_figures(self, version: str) -> list[ShadowFigures]:
        """How much a bundle disagreed in shadow, by live version, placement and size of the client."""
        ...


def standing_orders(said: Iterable[ExperimentOrder]) -> dict[str, ExperimentOrder]:
    """The order of each experiment that stands, by experiment_id: that of the highest number.

    Clocks of machines differ, numbers do not: a stop by a clock that is slow ends an experiment all the same.

    Args:
        said: Everything that was said.
    """
    standing: dict[str, ExperimentOrder] = {}
    for order in said:
        last = standing.get(order.experiment_id)
        if last is None or order.number > last.number:
            standing[order.experiment_id] = order
    return standing


def standing_policies(said: Iterable[PolicyVersion]) -> list[PolicyVersion]:
    """What was published and not withdrawn.

    Args:
        said: Everything that was said, ordered by effective_at, then in the order in which it was said.
    """
    standing: list[PolicyVersion] = []
    for each in said:
        if each.is_withdrawal:
            place = (each.version, each.effective_at)
            standing = [one for one in standing if (one.version, one.effective_at) != place]
        else:
            standing.append(each)
    return standing


def standing_stops(stops: Iterable[OfferStop], at: datetime) -> dict[str, list[OfferStop]]:
    """The stops of each offer that hold at an instant or from a later one on, in the order they were said.

    Args:
        stops: Everything that was said, in the order in which it was said.
        at: The instant.

    Example:
        >>> from dataclasses import replace
        >>> from datetime import UTC
        >>> days = [datetime(2025, 3, day, tzinfo=UTC) for day in range(1, 5)]
        >>> stop = OfferStop("crm", True, "prices are wrong", "duty", days[1], days[0])
        >>> list(standing_stops([stop], days[0])), list(standing_stops([stop], days[3]))
        (['crm'], ['crm'])
        >>> resumption = replace(stop, is_stopped=False, effective_at=days[2])
        >>> said = [stop, resumption]
        >>> list(standing_stops(said, days[1])), list(standing_stops(said, days[2]))
        (['crm'], [])
        >>> list(standing_stops([stop, replace(resumption, effective_at=days[0])], days[0]))
        []
        >>> list(standing_stops([resumption, stop], days[3]))
        ['crm']
    """
    lifted: dict[str, list[tuple[OfferStop, datetime | None]]] = {}
    for said in stops:
        before = lifted.setdefault(said.offer_id, [])
        if said.is_stopped:
            before.append((said, None))
        else:
            ends_at = said.effective_at
            before[:] = [(stop, ends_at if end is None else min(end, ends_at)) for stop, end in before]
    standing = {
        offer_id: [stop for stop, end in ends if end is None or end > max(at, stop.effective_at)]
        for offer_id, ends in lifted.items()
    }
    return {offer_id: stops_of for offer_id, stops_of in standing.items() if stops_of}


def stops_in_force(stops: Sequence[OfferStop], now: datetime) -> dict[str, OfferStop]:
    """The latest stop of each offer that is off at an instant, by offer_id; see `standing_stops`."""
    in_force = {
        offer_id: [stop for stop in standing if stop.effective_at <= now]
        for offer_id, standing in standing_stops(stops, now).items()
    }
    return {offer_id: begun[-1] for offer_id, begun in in_force.items() if begun}
