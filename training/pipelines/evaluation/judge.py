"""One contestant at one cut: its lists, and what its order of all pairs was worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.domain import Target
from recsys.evaluation.gains import Caught, caught_at_top, gain_curve
from recsys.evaluation.ranking import (
    Hits,
    find_hits,
    margin_at_k,
    pr_auc_by_offer,
    rank_top_k,
    slot_pairs,
)
from recsys.models.base import FloatArray, IntArray
from training.pipelines.evaluation.contestants import Fitted, Importance
from training.pipelines.evaluation.cuts import CutTruth
from training.pipelines.evaluation.stakes import ACCEPTANCE_DAYS, TOP_SLOTS, Exposed, Stakes

SHARES: Mapping[str, float] = {"top_1_percent": 0.01, "top_5_percent": 0.05}
CURVE: FloatArray = np.unique(np.concatenate([[0.0, 0.25], np.geomspace(0.001, 1.0, 31).round(4)]))
_SCORES_PER_CHUNK = 2_000_000


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Probabilities of what came first, and what came true.

    Attributes:
        target: What they are probabilities of.
        client_ids: The client of each pair, shape (n_pairs,).
        columns: Column of the offer, shape (n_pairs,).
        probabilities: Each in (0, 1), shape (n_pairs,).
        outcomes: 0 or 1, shape (n_pairs,).
    """

    target: Target
    client_ids: tuple[str, ...]
    columns: IntArray
    probabilities: FloatArray
    outcomes: FloatArray


class Shown(NamedTuple):
    """Lists that were really shown after the cut and of which something was activated and something not.

    Attributes:
        client_ids: The client of each list.
        values: Share of pairs (activated, not activated) in right order, ties half, shape (n_lists,).
    """

    client_ids: tuple[str, ...]
    values: FloatArray


@dataclass(frozen=True, slots=True)
class Judged:
    """One contestant at one cut.

    Attributes:
        lists: Everybody's list, shape (n_clients, k).
        hits: The lists of those who connected something new, against that.
        hits_again: Lists of what a client had before, of those who connected some of it again.
        caught: What the best pairs of all clients caught, by figure.
        curve: Share of adoptions caught in the top share of pairs, at `CURVE`.
        margin: Margin that the list of each client caught, shape (n_clients,); None without margins.
        pr_auc: Area under precision and recall of each offer over clients, NaN where nobody connected it.
        forecasts: Probabilities of the first three slots; None where it gives none.
        shown: How it would have ordered what was really shown.
        target: What its probabilities are probabilities of; None without any.
        importance: Share of each feature in what the model gained; empty where it has no such thing.
    """

    lists: IntArray
    hits: Hits
    hits_again: Hits
    caught: Mapping[str, Caught]
    curve: FloatArray
    margin: FloatArray | None
    pr_auc: FloatArray
    forecasts: Forecasts | None
    shown: Shown
    target: Target | None
    importance: Importance


def judge(fitted: Fitted, stakes: Stakes, k: int) -> Judged:
    """Rank all offers for all clients and hold that against what followed.

    Args:
        fitted: The contestant.
        stakes: The cut.
        k: Length of the lists.
    """
    truth = stakes.truth
    order, lists, lists_again, probabilities = _rank(fitted, truth, k)
    adopters = truth.adopters
    hits = find_hits(lists, truth.relevant)
    returners = np.flatnonzero(np.diff(truth.again.indptr))
    margin = None if stakes.margins is None else margin_at_k(hits.is_relevant, lists, stakes.margins)
    forecasts, shown = _of_exposures(fitted, stakes)
    if fitted.target is Target.ADOPTION and probabilities is not None:
        forecasts = _of_lists(fitted, stakes, lists, probabilities)
    return Judged(
        lists=lists,
        hits=Hits(hits.is_relevant[adopters], hits.n_relevant[adopters]),
        hits_again=find_hits(lists_again[returners], truth.again[returners]),
        caught=_caught(order, stakes),
        curve=gain_curve(order, truth.relevant, CURVE),
        margin=margin,
        pr_auc=pr_auc_by_offer(order, truth.relevant),
        forecasts=forecasts,
        shown=shown,
        target=fitted.target,
        importance=fitted.importance,
    )


def _rank(
    fitted: Fitted, truth: CutTruth, k: int
) -> tuple[FloatArray, IntArray, IntArray, FloatArray | None]:
    """The order of all pairs, lists of new offers, lists of known ones, and probabilities if any."""
    n_clients, n_offers = len(truth.clients), len(truth.offers)
    order = np.empty((n_clients, n_offers))
    lists = np.empty((n_clients, k), dtype=np.int64)
    lists_again = np.empty((n_clients, k), dtype=np.int64)
    gives = fitted.target is not None
    probabilities = np.empty((n_clients, n_offers), dtype=np.float64) if gives else None
    for rows in _chunks(n_clients, n_offers):
        scores, chances = fitted.predict(truth.clients.take(rows))
        is_seen = _mask(truth.seen, rows)
        lists[rows] = rank_top_k(np.where(is_seen, -np.inf, scores), k)
        lists_again[rows] = rank_top_k(np.where(_mask(truth.returnable, rows), scores, -np.inf), k)
        # scores compare inside a client only, probabilities across clients
        order[rows] = np.where(is_seen, -np.inf, scores if chances is None else chances)
        if probabilities is not None and chances is not None:
            probabilities[rows] = chances
    return order, lists, lists_again, probabilities


def _mask(pattern: sparse.csr_array, rows: IntArray) -> NDArray[np.bool_]:
    mask = np.zeros((len(rows), pattern.shape[1]), dtype=bool)
    mask[pattern[rows].nonzero()] = True
    return mask


def _caught(order: FloatArray, stakes: Stakes) -> dict[str, Caught]:
    gained = {"adoptions": stakes.truth.relevant}
    if stakes.margin_gained is not None:
        gained["margin"] = stakes.margin_gained
    return {
        f"{what}_{name}": caught_at_top(order, pattern, share)
        for what, pattern in gained.items()
        for name, share in SHARES.items()
    }


def _of_lists(fitted: Fitted, stakes: Stakes, lists: IntArray, probabilities: FloatArray) -> Forecasts | None:
    """Of adoption: the contestant's own first slots, of clients observed to the end of its days."""
    adopted = stakes.adopted_within(fitted.horizon_days)
    if adopted is None:
        return None
    rows, columns, _ = slot_pairs(lists[:, :TOP_SLOTS])
    is_observed = adopted.is_observed[rows]
    rows, columns = rows[is_observed], columns[is_observed]
    return Forecasts(
        target=Target.ADOPTION,
        client_ids=tuple([stakes.truth.client_ids[row] for row in rows.tolist()]),
        columns=columns,
        probabilities=probabilities[rows, columns],
        outcomes=np.asarray(adopted.pattern[rows, columns], dtype=np.float64),
    )


def _of_exposures(fitted: Fitted, stakes: Stakes) -> tuple[Forecasts | None, Shown]:
    """Probabilities of acceptance, if it gives those, and the order of what was really seen."""
    exposed, order = stakes.exposed(ACCEPTANCE_DAYS), None
    shown = Shown((), np.zeros(0))
    if exposed is not None:
        order = _order_of(fitted, exposed)
        shown = _shown(order, exposed)
    if fitted.target is not Target.ACCEPTANCE:
        return None, shown
    if fitted.horizon_days != ACCEPTANCE_DAYS:
        exposed = stakes.exposed(fitted.horizon_days)
        order = None if exposed is None else _order_of(fitted, exposed)
    if exposed is None or order is None:
        return None, shown
    return _of_top(order, exposed), shown


def _of_top(order: FloatArray, exposed: Exposed) -> Forecasts:
    """Of acceptance: the first slots that were really seen."""
    is_top = exposed.slots <= TOP_SLOTS
    return Forecasts(
        target=Target.ACCEPTANCE,
        client_ids=tuple([exposed.client_ids[row] for row in exposed.rows[is_top].tolist()]),
        columns=exposed.columns[is_top],
        probabilities=order[is_top],
        outcomes=exposed.outcomes[is_top],
    )


def _order_of(fitted: Fitted, exposed: Exposed) -> FloatArray:
    """The probability of each exposure, without probabilities its score."""
    found = np.empty(len(exposed.rows))
    for rows in _chunks(len(exposed.clients), exposed.clients.n_offers):
        scores, chances = fitted.predict(exposed.clients.take(rows))
        here = slice(*np.searchsorted(exposed.rows, [rows[0], rows[-1] + 1]))
        values = scores if chances is None else chances
        found[here] = values[exposed.rows[here] - rows[0], exposed.columns[here]]
    return found


def _shown(order: FloatArray, exposed: Exposed) -> Shown:
    """How well lists would have been ordered of which something was activated and something not."""
    rows, starts = np.unique(exposed.rows, return_index=True)
    lists = zip(
        rows.tolist(),
        np.split(order, starts[1:]),
        np.split(exposed.outcomes > 0, starts[1:]),
        strict=True,
    )
    client_ids, values = [], []
    for row, ordered, is_taken in lists:
        if is_taken.any() and not is_taken.all():
            above = np.sign(ordered[is_taken][:, None] - ordered[~is_taken][None, :])
            client_ids.append(exposed.client_ids[row])
            values.append(float((above + 1).mean() / 2))
    return Shown(tuple(client_ids), np.array(values))


def _chunks(n_clients: int, n_offers: int) -> Iterator[IntArray]:
    """Rows, a bounded number of pairs at a time."""
    chunk = max(1, _SCORES_PER_CHUNK // max(n_offers, 1))
    for start in range(0, n_clients, chunk):
        yield np.arange(start, min(start + chunk, n_clients))
