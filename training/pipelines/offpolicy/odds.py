"""What a new policy would have made of every logged decision, rebuilt as it was known at that moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import polars as pl

from recsys.bundle import Bundle
from recsys.data.dataset import Dataset
from recsys.data.replay import collector_paused, replay
from recsys.data.snapshot import offers_at
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.decide import Slate, decide_all
from recsys.decision.engine import Engine
from recsys.decision.exploration import Roll
from recsys.decision.policy.policy import Policy
from recsys.domain import ClientState, Offer
from recsys.models.base import FloatArray, IntArray
from training.pipelines.offpolicy.drawing import Chances, Drawing, chances_of
from training.pipelines.offpolicy.log import DecisionLog
from training.pipelines.offpolicy.logged import LoggedList, Told
from training.pipelines.scoring.estimates import Estimates
from training.pipelines.scoring.sources import narrowed
from training.runs import progress

N_LISTS = 16
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Odds:
    """A policy's chances, row by row of the log's slots; see `training.pipelines.offpolicy.drawing`.

    Attributes:
        given: P(the logged offer | the logged slots above), shape (n_rows,).
        overall: P(the logged offer at this slot), whatever stands above, same shape.
        logged_overall: The same under the policy that made the log; nan where its law is not known.
        expected_given: Expected reward given the logged slots above, rows_by_measures.
        expected: Expected reward over the policy's own lists, same shape.
        filled_given: P(the slot is filled | the logged slots above), shape (n_rows,).
        lost_given: P(the slot goes to what the log could not show | the logged slots above), same shape.
        lost: The same over the policy's own lists.
        filled: P(the slot is filled) over the policy's own lists, shape (n_rows,).
    """

    given: FloatArray
    overall: FloatArray
    logged_overall: FloatArray
    expected_given: FloatArray
    expected: FloatArray
    filled_given: FloatArray
    lost_given: FloatArray
    lost: FloatArray
    filled: FloatArray

    def write(self, at: slice, chances: Chances, logged_overall: FloatArray) -> None:
        """Write down the chances of one decision, whose rows these are."""
        self.given[at], self.overall[at] = chances.given, chances.overall
        self.logged_overall[at] = logged_overall
        self.expected_given[at], self.expected[at] = chances.expected_given, chances.expected
        self.filled_given[at] = chances.filled_given
        self.lost_given[at], self.lost[at] = chances.lost_given, chances.lost
        self.filled[at] = chances.filled


@dataclass(frozen=True, slots=True)
class Means:
    """A model of rewards for each fold of clients.

    Attributes:
        values: folds_by_offers_by_slots_by_measures.
        folds: Fold of each decision, shape (n_decisions,).
        offer_ids: The offers.
    """

    values: FloatArray
    folds: IntArray
    offer_ids: tuple[str, ...]

    def of(self, decision: int, columns: IntArray, k: int) -> FloatArray:
        """Of one decision's client, k_by_columns_by_measures."""
        found: FloatArray = self.values[self.folds[decision]][columns, :k].transpose(1, 0, 2)
        return found


@dataclass(frozen=True, slots=True)
class _World:
    """A policy with the offers of one time."""

    engine: Engine
    estimates: Estimates
    columns: IntArray  # place of each position's offer among the offers of the means


class Rebuilt:
    """Rebuilds decisions under a new policy.

    Args:
        dataset: The log with all that was known.
        policy: The new policy.
        bundle: Its models.
        log: The decisions.
        means: A model of rewards.
    """

    def __init__(
        self, dataset: Dataset, policy: Policy, bundle: Bundle, log: DecisionLog, means: Means
    ) -> None:
        self._dataset, self._policy, self._bundle = dataset, policy, bundle
        self._log, self._means = log, means
        self._zone = ZoneInfo(dataset.meta.time_zone)
        self._shown = _shown_above(log, dataset)
        self._slots = (
            log.slots["offer_id"].to_list(),
            log.slots["change"].to_list(),
            log.slots["logging_probability"].to_numpy(),
        )
        self._offers: tuple[Offer, ...] = ()
        self._world: _World | None = None

    def odds(self, rng: np.random.Generator, n_lists: int = N_LISTS) -> Odds:
        """The chances in every slot, chunk by chunk; memory grows with the chunk and with the result.

        Args:
            rng: Source of the policy's own lists.
            n_lists: How many of them for each decision, ≥1; more make `overall` and `expected` less noisy.
        """
        decisions, slots = self._log.decisions, self._log.slots
        n_rows, (n_slots, n_measures) = len(slots), self._means.values.shape[2:]
        odds = Odds(
            *(np.zeros(n_rows) for _ in range(3)),
            *(np.zeros((n_rows, n_measures)) for _ in range(2)),
            *(np.zeros(n_rows) for _ in range(4)),
        )
        ends = np.searchsorted(slots["decision"].to_numpy(), np.arange(len(decisions) + 1))
        with progress("rebuild decisions", len(decisions)) as advance:
            for first, last in _chunks(decisions["occurred_at"]):
                luck = rng.random((last - first, n_lists, n_slots))
                self._add(odds, (first, last), ends, luck)
                advance(last - first)
        return odds

    def _add(self, odds: Odds, chunk: tuple[int, int], ends: IntArray, luck: FloatArray) -> None:
        """Rebuild the decisions of a chunk and write their chances down."""
        rows = self._log.decisions[chunk[0] : chunk[1]]
        world = self._world_at(rows["occurred_at"][0])
        told = [Told.of(row) for row in rows.iter_rows(named=True)]
        states = self._states(rows)
        situations = [
            each.situation(state, int(ends[number + 1] - ends[number]))
            for number, (each, state) in enumerate(zip(told, states, strict=True), start=chunk[0])
        ]
        scored = world.estimates.of(states, [each.at for each in told])
        found = decide_all(situations, scored.estimates, world.engine)
        for place, (each, situation, decision) in enumerate(zip(told, situations, found, strict=True)):
            number, slate = chunk[0] + place, decision.slates[0]
            at = slice(int(ends[number]), int(ends[number + 1]))
            logged = LoggedList.of([column[at] for column in self._slots], each, world.engine)
            roll = Roll(
                k=at.stop - at.start,
                seed=slate.seed,
                now=each.at,
                is_unknown=scored.estimates[place].is_unknown,
                is_random=situation.is_profiling_allowed,
            )
            rules = world.engine.list_rules[slate.placement_id]
            candidates = self._candidates(each.decision_id, slate, world.engine)
            changes = slate.verdicts.changes
            chances = chances_of(
                Drawing(rules, candidates, slate.factors.priority, roll),
                logged.positions(changes),
                self._means.of(number, world.columns, roll.k),
                logged.is_possible(changes),
                luck[place],
            )
            odds.write(at, chances, logged.overall())

    def _candidates(self, decision_id: str, slate: Slate, engine: Engine) -> IntArray:
        """Those of a list, less what the log showed above it in the same answer."""
        above, ids = self._shown.get(decision_id), engine.catalogue.offer_ids
        if not above:
            return slate.candidates
        return slate.candidates[[ids[position] not in above for position in slate.candidates.tolist()]]

    def _states(self, rows: pl.DataFrame) -> list[ClientState]:
        moments = rows.select("client_id", at="occurred_at")
        known = narrowed(self._dataset, moments.select("client_id").unique())
        with collector_paused():
            return list(replay(known, moments))

    def _world_at(self, moment: datetime) -> _World:
        """The policy with the offers known at a moment; made anew when those changed."""
        offers = offers_at(self._dataset, moment)
        if self._world is None or offers != self._offers:
            catalogue = CompiledCatalogue(offers)
            place = {offer_id: number for number, offer_id in enumerate(self._means.offer_ids)}
            self._offers = offers
            self._world = _World(
                Engine(catalogue, self._policy, self._zone),
                Estimates(self._bundle, catalogue),
                np.array([place[offer_id] for offer_id in catalogue.offer_ids], dtype=np.int64),
            )
        return self._world


def _chunks(moments: pl.Series) -> Iterator[tuple[int, int]]:
    """Rows first … last − 1 of decisions of one month, so that offers are those of that month."""
    months = moments.dt.truncate("1mo").rle().struct.unnest()["len"].to_list()
    first = 0
    for n_rows in months:
        for start in range(first, first + n_rows, _AT_ONCE):
            yield start, min(start + _AT_ONCE, first + n_rows)
        first += n_rows


def _shown_above(log: DecisionLog, dataset: Dataset) -> dict[str, frozenset[str]]:
    """Offers in the lists above, of the same answer, by decision; none for most."""
    has_any = log.decisions.filter(pl.col("request").fill_null("").str.contains('"above"', literal=True))
    if has_any.is_empty():
        return {}
    items = dataset.tables["decision_items"].select("decision_id", "offer_id")
    above = [
        (decision_id, other)
        for decision_id, request in has_any.select("decision_id", "request").iter_rows()
        for other in orjson.loads(request).get("above", ())
    ]
    pairs = pl.DataFrame(above, schema=["below", "decision_id"], orient="row")
    shown = pairs.join(items, on="decision_id").group_by("below").agg("offer_id")
    return {below: frozenset(offers) for below, offers in shown.iter_rows()}
