"""The value of a policy: the world lived forward under it.

Two rollouts from one beginning share every draw that a policy cannot change, so that they are compared
client by client; see `recsys.simulation.streams.Streams`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property

import numpy as np
import polars as pl

from recsys.data.dataset import Dataset, DatasetMeta
from recsys.data.snapshot import Snapshot, take_snapshot
from recsys.data.validation import recorded_column
from recsys.domain import ClientId, ClientState
from recsys.simulation.catalogue import Catalogue
from recsys.simulation.clients import BoolArray, FloatArray, IntArray
from recsys.simulation.lists import Lists, draw_greedy
from recsys.simulation.operator import Month, Operator
from recsys.simulation.policies import Choice, Chooser, LoggingPolicies, Occasion, chosen_by
from recsys.simulation.record import Recorder
from recsys.simulation.timeline import to_datetime
from recsys.simulation.truth import client_ids
from recsys.simulation.world import World
from recsys.tables import table_named

ROLLOUT_POLICY = "rollout"
ORACLE_POLICY = "oracle"


class Aim(StrEnum):
    """What the oracle ranks by.

    ``margin``: the rise of the probability by being shown, times the expected margin. ``acceptance``: the
    probability of activation when shown.
    """

    MARGIN = "margin"
    ACCEPTANCE = "acceptance"


class Request:
    """What a policy gets to see of a month's lists: all that the operator knows, and nothing else.

    Attributes:
        month: 0-based month.
        as_of: Its first instant, aware UTC; what is known is known then.
        k: Length of a list.
        offer_ids: The columns.
        client_ids: The client of each list.
        seeds: A seed for each list's draws.
        eligible: What may be shown, lists_by_offers.
        changes: What taking an offer would change, lists_by_offers: positions in `CHANGES`; -1 = nothing.
    """

    def __init__(self, operator: Operator, recorder: Recorder, occasion: Occasion) -> None:
        self.month = occasion.month
        self.as_of: datetime = to_datetime(occasion.begins_at)
        self.k = operator.world.portal.k
        self.offer_ids = operator.shelf.offer_ids
        every = client_ids(operator)
        self.client_ids = tuple(every[row] for row in occasion.visitors.rows.tolist())
        self.seeds = occasion.visitors.seeds
        self.eligible = occasion.eligible.copy()
        self.changes = occasion.changes.copy()
        self._recorder = recorder
        self._meta = DatasetMeta(
            name=operator.world.name, currency=operator.world.currency, time_zone=operator.world.time_zone
        )

    @cached_property
    def dataset(self) -> Dataset:
        """Every row that was known when the month began."""
        tables = {}
        for name, frame in self._recorder.tables().items():
            recorded = recorded_column(table_named(name))
            tables[name] = frame if recorded is None else frame.filter(pl.col(recorded) <= self.as_of)
        items, decisions = tables["decision_items"], tables["decisions"]
        tables["decision_items"] = items.join(decisions, on="decision_id", how="semi")
        return Dataset(meta=self._meta, tables=tables)

    @cached_property
    def snapshot(self) -> Snapshot:
        """The world as it was known when the month began."""
        return take_snapshot(self.dataset, self.as_of)

    def states(self) -> tuple[ClientState, ...]:
        """The state of each list's client; an empty one for a client that is not known yet."""
        known = {state.client_id: state for state in self.snapshot.states}
        return tuple(
            known.get(ClientId(client_id), ClientState(ClientId(client_id))) for client_id in self.client_ids
        )


Policy = Callable[[Request], Lists]


@dataclass(frozen=True, slots=True)
class Rollout:
    """What came of a policy; arrays are of shape (n_clients,).

    Attributes:
        client_ids: The clients.
        n_impressions: Impressions.
        n_accepted: Impressions that led to an activation within 30 days.
        n_expected: Sum of their true probabilities.
        n_adopted: Services connected, shown or not.
        margin: Expected margin of those, less that of what they replaced, and of everything that changed of
            what was held, over `worth.HORIZON_MONTHS`, whole units of the currency.
        is_treated: Whether the policy filled the client's lists.
        tables: Writes the tables of the whole life down, history included.
    """

    client_ids: tuple[str, ...]
    n_impressions: IntArray
    n_accepted: IntArray
    n_expected: FloatArray
    n_adopted: IntArray
    margin: FloatArray
    is_treated: BoolArray
    tables: Callable[[], dict[str, pl.DataFrame]]

    @property
    def acceptance(self) -> float:
        """Share of impressions that were accepted."""
        return float(self.n_accepted.sum() / max(int(self.n_impressions.sum()), 1))

    @property
    def value(self) -> float:
        """Mean margin of a client."""
        return float(self.margin.mean())

    def advantage(self, other: Rollout) -> tuple[float, float]:
        """Mean difference of margins client by client, this less the other, and its standard error."""
        difference = self.margin - other.margin
        return float(difference.mean()), float(difference.std(ddof=1) / len(difference) ** 0.5)


class Rollouts:
    """Rollouts from one month on, after a history that the logging policies made.

    Args:
        world: The parameters; see `recsys.simulation.world.check_world`.
        catalogue: What can be connected.
        from_month: 0-based month from which on policies fill the lists, ≥1, so that something is known.

    Raises:
        ValueError: The world has no such month, or nothing is known in it.
    """

    def __init__(self, world: World, catalogue: Catalogue, from_month: int) -> None:
        if not 1 <= from_month < world.n_months:
            raise ValueError(f"from_month is {from_month}, must be 1–{world.n_months - 1}")
        self._operator = Operator(world, catalogue)
        self._recorder = Recorder(self._operator, catalogue.version)
        while self._operator.month < from_month:
            self._recorder.add(self._operator.finish(self._operator.begin()))

    def run(self, policy: Policy, n_months: int, is_treated: BoolArray | None = None) -> Rollout:
        """Live months under a policy.

        Args:
            policy: Fills the lists; see `Request`. It must be a function of the request alone.
            n_months: How many.
            is_treated: Whose lists it fills; the logging policies fill the others'. None = everybody's.
        """

        def make_chooser(operator: Operator, recorder: Recorder) -> Chooser:
            def choose(occasion: Occasion) -> Choice:
                lists = policy(Request(operator, recorder, occasion))
                _check_lists(lists, occasion)
                return chosen_by(ROLLOUT_POLICY, lists, is_personalised=True)

            return choose

        return self._run(make_chooser, n_months, is_treated)

    def run_logging(self, n_months: int) -> Rollout:
        """Live months under the world's own logging policies."""
        return self._run(lambda operator, _: LoggingPolicies(operator.world), n_months, None)

    def run_oracle(
        self, n_months: int, aim: Aim = Aim.MARGIN, is_treated: BoolArray | None = None
    ) -> Rollout:
        """Live months under the oracle, which fills lists by the true probabilities."""
        return self._run(lambda operator, _: _oracle(operator, aim), n_months, is_treated)

    def _run(
        self,
        make_chooser: Callable[[Operator, Recorder], Chooser],
        n_months: int,
        is_treated: BoolArray | None,
    ) -> Rollout:
        operator = self._operator.fork()
        recorder = self._recorder.fork(operator)
        n = len(operator.clients)
        treated = np.ones(n, dtype=bool) if is_treated is None else is_treated
        chooser = make_chooser(operator, recorder)
        if is_treated is not None:
            chooser = _split(chooser, LoggingPolicies(operator.world), treated)
        operator.chooser = chooser
        last = operator.month + n_months
        if n_months < 1 or last > operator.timeline.n_months:
            raise ValueError(f"n_months is {n_months}; the world ends in {last - operator.timeline.n_months}")
        counts = np.zeros((5, n))
        while operator.month < last:
            month = operator.finish(operator.begin())
            recorder.add(month)
            counts += _count(operator, month)
        whole = counts[[0, 1, 3]].astype(np.int64)
        return Rollout(
            client_ids=client_ids(operator),
            n_impressions=whole[0],
            n_accepted=whole[1],
            n_expected=counts[2],
            n_adopted=whole[2],
            margin=counts[4],
            is_treated=treated,
            tables=recorder.tables,
        )


def top_lists(scores: FloatArray, request: Request) -> Lists:
    """The best scores of what is eligible, for sure; of equal scores the catalogue's first.

    Args:
        scores: Scores of the request's offers, finite, lists_by_offers.
        request: The lists to fill.
    """
    return draw_greedy(scores, request.eligible, request.seeds, request.k)


def _check_lists(lists: Lists, occasion: Occasion) -> None:
    visit, slot = np.nonzero(lists.offers >= 0)
    if not occasion.eligible[visit, lists.offers[visit, slot]].all():
        raise ValueError("a policy filled a slot with an offer that is not eligible")


def _oracle(operator: Operator, aim: Aim) -> Chooser:
    def choose(occasion: Occasion) -> Choice:
        chances, eligible = occasion.chances(), occasion.eligible
        scores = chances.acceptance
        if aim is Aim.MARGIN:
            gains = occasion.gains()
            scores, eligible = chances.lift * gains, eligible & (gains > 0)
        lists = draw_greedy(scores, eligible, occasion.visitors.seeds, operator.world.portal.k)
        return chosen_by(ORACLE_POLICY, lists, is_personalised=True)

    return choose


def _split(chooser: Chooser, other: Chooser, is_treated: BoolArray) -> Chooser:
    """One policy for treated clients and another for the rest; priorities stand for neither."""

    def choose(occasion: Occasion) -> Choice:
        mine = is_treated[occasion.visitors.rows]
        theirs, ours = other(occasion), chooser(_part(occasion, mine))
        offers, probabilities = theirs.lists.offers.copy(), theirs.lists.probabilities.copy()
        offers[mine], probabilities[mine] = ours.lists.offers, ours.lists.probabilities
        is_personalised = theirs.is_personalised.copy()
        is_personalised[mine] = ours.is_personalised
        names = iter(ours.policies)
        policies = tuple(
            next(names) if is_mine else policy
            for policy, is_mine in zip(theirs.policies, mine.tolist(), strict=True)
        )
        return Choice(Lists(offers, probabilities), policies, is_personalised)

    return choose


def _part(occasion: Occasion, mine: BoolArray) -> Occasion:
    return replace(
        occasion,
        visitors=occasion.visitors.take(mine),
        eligible=occasion.eligible[mine],
        changes=occasion.changes[mine],
        wants=lambda: occasion.wants()[mine],
        chances=lambda: occasion.chances().take(mine),
        gains=lambda: occasion.gains()[mine],
    )


def _count(operator: Operator, month: Month) -> FloatArray:
    """Impressions, accepted ones, their expected number, adoptions, margin; counts_by_clients."""
    visits, adoptions, n = month.visits, month.adoptions, len(operator.clients)
    rows = np.concatenate([adoptions.rows, month.revisions.rows])
    gains = np.concatenate([adoptions.gains, month.revisions.gains])
    expected = np.where(visits.is_seen, month.acceptance, 0.0).sum(axis=1)
    return np.array(
        [
            np.bincount(visits.rows, weights=visits.is_seen.sum(axis=1), minlength=n),
            np.bincount(visits.rows[month.taken.visits], minlength=n),
            np.bincount(visits.rows, weights=expected, minlength=n),
            np.bincount(adoptions.rows, minlength=n),
            np.bincount(rows, weights=gains, minlength=n),
        ]
    )
