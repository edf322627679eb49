"""The stack and its parts: start, trees, lines of need groups."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.domain import ClientId, ClientState, Holding, Offer, OfferId, Profile
from recsys.features.builder import FeatureBuilder
from recsys.models.batch import ClientBatch, FloatArray, OfferIndex
from recsys.models.calibration import GroupCalibration, Pairs, expit, fit_group_calibration, move_levels
from recsys.models.features_read import FeatureReader
from recsys.models.growing import grow_trees
from recsys.models.joined_trees import Parts
from recsys.models.log_linear import Candidates, fit_log_linear
from recsys.models.registry import make_scorer
from recsys.models.trees import Trees

N = 8_000


def _candidates(rng: np.random.Generator, rate: float = 1.0) -> Candidates:
    """Log-odds = -4 + own_j + 0.8 log s - 0.3 log slot, of which negatives are kept at the rate."""
    logs, columns, slots = rng.normal(0, 1, (N, 1)), rng.integers(0, 4, N), rng.integers(1, 6, N)
    truth = -4 + np.array([0.0, 0.1, -0.1, 0.2])[columns] + 0.8 * logs[:, 0] - 0.3 * np.log(slots)
    outcomes = (rng.random(N) < expit(truth)).astype(np.float64)
    kept = (outcomes > 0) | (rng.random(N) < rate)
    even = np.ones(int(kept.sum()))
    shifts, levels = -np.log(rate) * even, 0.0 * even
    return Candidates(
        logs[kept], columns[kept], slots[kept], outcomes[kept], shifts, 0.0 * even, levels, even
    )


@pytest.mark.parametrize("rate", [1.0, 0.2])
def test_the_start_finds_what_is_true_whatever_was_sampled(rate: float) -> None:
    candidates = _candidates(np.random.default_rng(1), rate)
    start = fit_log_linear(candidates, np.array([0, 0, 1, -1]), np.array([1.0]))
    assert start.weights[0] == pytest.approx(0.8, abs=0.15)
    assert start.slot_weight == pytest.approx(-0.3, abs=0.25)
    assert np.allclose(start.terms, np.array([-4.0, -3.9, -4.1, -3.8]), atol=0.4)


def test_terms_of_few_outcomes_stay_with_the_whole() -> None:
    some = Candidates(*(each[:400] for each in _candidates(np.random.default_rng(1))))
    lucky = some._replace(outcomes=(some.columns == 3).astype(np.float64) * (np.arange(400) % 20 == 0))
    start = fit_log_linear(lucky, np.array([-1, -1, -1, -1]), np.array([0.8]))
    assert np.ptp(start.terms) < 0.3


def test_levels_explain_what_is_wanted_more_than_components_say() -> None:
    rng = np.random.default_rng(5)
    found = _candidates(rng)
    levels = np.array([-3.0, -2.0, -1.0, 0.0])[found.columns]
    truth = -3 + 0.8 * found.logs[:, 0] + 0.5 * levels
    outcomes = (rng.random(N) < expit(truth)).astype(np.float64)
    start = fit_log_linear(found._replace(outcomes=outcomes, levels=levels), np.full(4, -1), np.array([0.8]))
    # shrunk toward 0, where it says nothing
    assert 0.25 < start.level_weight < 0.55


def test_what_is_held_already_says_nothing_of_the_terms() -> None:
    rng = np.random.default_rng(8)
    found, groups, prior = _candidates(rng), np.full(4, -1), np.array([0.8])
    before = fit_log_linear(found, groups, prior)
    is_held = ((found.columns == 2) & (rng.random(N) < 0.2)).astype(np.float64)
    renewed = rng.random(N) < expit(before.log_odds(found) + 3.5)
    outcomes = np.where(is_held > 0, renewed, found.outcomes).astype(np.float64)
    start = fit_log_linear(found._replace(outcomes=outcomes, is_held=is_held), groups, prior)
    assert start.held_weight == pytest.approx(3.5, abs=0.5)
    np.testing.assert_allclose(start.terms, before.terms, atol=0.15)


def test_a_candidate_that_counts_twice_is_two() -> None:
    some = Candidates(*(each[:2_000] for each in _candidates(np.random.default_rng(6))))
    twice = Candidates(*(np.concatenate([each, each]) for each in some))
    groups, prior = np.array([0, 0, 1, -1]), np.array([1.0])
    np.testing.assert_allclose(
        fit_log_linear(some._replace(counts=np.full(2_000, 2.0)), groups, prior).terms,
        fit_log_linear(twice, groups, prior).terms,
        atol=1e-6,
    )


def test_without_outcomes_the_weights_stay_where_they_were() -> None:
    nothing = Candidates(*(each[:50] for each in _candidates(np.random.default_rng(1))))
    none = nothing._replace(outcomes=np.zeros(50))
    start = fit_log_linear(none, np.array([-1, -1, -1, -1]), np.array([0.7]))
    assert start.weights[0] == pytest.approx(0.7, abs=0.2)
    assert (expit(start.log_odds(none)) < 0.05).all()


def test_each_group_gets_its_line_and_few_outcomes_the_line_of_the_whole() -> None:
    rng = np.random.default_rng(2)
    raw, groups = rng.normal(-3, 1, N), np.array([0, 1, 2])
    columns = np.where(rng.random(N) < 0.001, 2, rng.integers(0, 2, N))
    # the lines of 0 and 1 cross where most comes true
    truth = np.where(columns == 0, 0.8 * raw - 0.5, 1.2 * raw + 0.4)
    outcomes = (rng.random(N) < expit(truth)).astype(np.float64)
    found = fit_group_calibration(Pairs(raw, np.zeros(N), outcomes, groups[columns], np.ones(N)), groups)
    assert found.slopes[0] == pytest.approx(0.8, abs=0.15)
    assert found.slopes[1] == pytest.approx(1.2, abs=0.15)
    calibrated = found.log_odds(np.tile(raw[:, None], 3))[np.arange(N), columns]
    assert expit(calibrated).sum() == pytest.approx(outcomes.sum(), rel=0.02)
    assert found.slopes[2] == pytest.approx(found.slopes[:2].mean(), abs=0.2)


def test_levels_move_and_slopes_stay() -> None:
    rng = np.random.default_rng(7)
    raw, groups = rng.normal(-3, 1, N), np.array([0, 1])
    columns = rng.integers(0, 2, N)
    before = GroupCalibration(np.array([0.1, -0.1]), np.array([0.9, 1.1]))
    told = before.log_odds(np.tile(raw[:, None], 2))[np.arange(N), columns]
    outcomes = (rng.random(N) < expit(told - 0.6)).astype(np.float64)
    found = move_levels(before, Pairs(raw, np.zeros(N), outcomes, groups[columns], np.ones(N)), groups)
    np.testing.assert_allclose(found.slopes, before.slopes, atol=1e-4)
    np.testing.assert_allclose(found.intercepts, before.intercepts - 0.6, atol=0.25)


def test_an_offer_without_a_group_has_the_line_of_the_whole() -> None:
    raw = np.array([-1.0, 1.0, 0.0])
    pairs = Pairs(raw, np.zeros(3), np.array([0.0, 1, 0]), np.full(3, -1), np.ones(3))
    found = fit_group_calibration(pairs, np.array([-1, -1]))
    assert found.intercepts[0] == found.intercepts[1]
    assert (found.slopes > 0).all()


def _grown(rows: np.ndarray, outcomes: np.ndarray) -> tuple[FeatureReader, Trees]:
    reader = FeatureReader(1)
    wide = np.full((len(rows), len(reader.names)), np.nan, dtype=np.float32)
    wide[:, [0, reader.names.index("price_minor")]] = rows
    params = make_scorer("boosted").params
    learnt = wide, outcomes, np.full(len(rows), -3.0), np.ones(len(rows))
    grown = grow_trees(learnt, None, params, reader, 1, 40)
    return reader, grown.trees


def test_a_higher_price_never_raises_the_probability() -> None:
    rng = np.random.default_rng(3)
    rows = np.stack([rng.normal(0, 1, N), rng.integers(1, 50, N)], axis=1)
    # dearer offers are wanted more here, which trees must not learn
    outcomes = (rng.random(N) < expit(-3 + rows[:, 0] + rows[:, 1] / 25)).astype(np.float64)
    reader, trees = _grown(rows, outcomes)
    asked = np.full((50, len(reader.names)), np.nan)
    asked[:, 0], asked[:, reader.names.index("price_minor")] = 0.5, np.arange(50)
    assert (np.diff(trees.predict(asked)) <= 0).all()
    asked[:, 0], asked[:, reader.names.index("price_minor")] = np.linspace(-2, 2, 50), 10
    assert np.ptp(trees.predict(asked)) > 0.5


def test_trees_are_the_same_from_the_same_seed() -> None:
    rng = np.random.default_rng(4)
    rows = np.stack([rng.normal(0, 1, N), rng.integers(1, 50, N)], axis=1)
    outcomes = (rng.random(N) < expit(-3 + rows[:, 0])).astype(np.float64)
    first, second = (_grown(rows, outcomes)[1].to_arrays() for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_the_parts_of_features_are_columns_of_the_rows_of_all() -> None:
    offers = [Offer(OfferId("a"), need_group="x"), Offer(OfferId("b"), need_group="x")]
    now = datetime(2025, 7, 10, tzinfo=UTC)
    states = [
        ClientState(ClientId("c"), holdings=(Holding("h", OfferId("a"), now - timedelta(days=9)),)),
        ClientState(ClientId("d"), profile=Profile(n_employees=3)),
    ]
    reader, rng = FeatureReader(2), np.random.default_rng(4)
    # an order of columns that is not the builder's, an offer that it does not know; and its own
    for index in (OfferIndex(["b", "gone", "a"]), OfferIndex(["a", "b"])):
        n_clients, n_offers, n_features = len(states), len(index), len(reader.names)
        batch = ClientBatch.from_states(states, index, now, FeatureBuilder(offers))
        logs = rng.normal(size=(2, n_clients, n_offers)).astype(np.float32).astype(np.float64)
        clients, columns = np.divmod(np.arange(n_clients * n_offers), n_offers)
        rows = reader.rows_of(batch, index, logs.reshape(2, -1).T, clients, columns)
        whole = rows.reshape(n_clients, n_offers, n_features)
        is_known = [offer_id != "gone" for offer_id in index.offer_ids]
        for n_asked in (1, 5, 30, 60):
            asked = np.sort(rng.choice(n_features, n_asked, replace=False))
            numbers = Parts(*(asked[reader.kinds[asked] == kind] for kind in range(3)))
            for _ in range(2):
                found = reader.parts(batch, index, logs, numbers)
                of_offers, of_clients, of_pairs = (whole[:, is_known][:, :, each] for each in numbers)
                same(found.offers[:, is_known].T, of_offers[0])
                same(found.clients.T[:, None], of_clients[:, :1])
                same(found.pairs[:, :, is_known].swapaxes(1, 2), of_pairs)
            assert np.isnan(found.offers[:, np.logical_not(is_known)]).all()


def same(found: FloatArray, rows: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(found.astype(np.float32), rows)


def test_scoring_needs_no_library_of_trees() -> None:
    code = (
        "import sys, recsys.models.boosted;"
        "unread = ('lightgbm', 'sklearn', 'pandas', 'implicit', 'lightfm');"
        "print([name for name in unread if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"
