"""A bundle held against the truth: the oracle is 1, chance is 0, and the truth is the simulation's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.domain import Change
from recsys.simulation.aftersales import CHANGES, NO_CHANGE
from recsys.simulation.catalogue import read_catalogue
from recsys.simulation.truth import Context, Truth, TruthAt
from recsys.simulation.world import World
from training.pipelines.worlds.models import live
from training.pipelines.worlds.truth import (
    Gains,
    WorldTruth,
    calibration_line,
    judge_lists,
    judge_newcomers,
    judge_probabilities,
    ratio_of_means,
    take_truth,
    without_history,
)

DEMO = Path(__file__).parents[2] / "datasets" / "demo"
N_MONTHS = 5


@pytest.fixture(scope="module")
def world() -> World:
    return World.load(DEMO / "worlds" / "typical.toml").model_copy(
        update={"n_clients": 250, "n_months": N_MONTHS}
    )


@pytest.fixture(scope="module")
def here(world: World) -> TruthAt:
    return Truth(world, read_catalogue(DEMO)).at(N_MONTHS - 1)


@pytest.fixture(scope="module")
def truth(world: World) -> WorldTruth:
    catalogue = read_catalogue(DEMO)
    return take_truth(Truth(world, catalogue), live(world, catalogue), N_MONTHS - 1)


def test_everything_at_once_agrees_with_single_answers(here: TruthAt) -> None:
    offered = here.offered()
    rows, columns = np.nonzero(offered.changes != NO_CHANGE)
    least = here.answer(here.client_ids[0], here.offer_ids[0], Change.NEW, Context("employee", 1))
    assert least.acceptance <= 1
    for place in np.random.default_rng(0).choice(len(rows), 60, replace=False).tolist():
        row, column = rows[place], columns[place]
        change = CHANGES[offered.changes[row, column]]
        by_role = [
            here.answer(here.client_ids[row], here.offer_ids[column], change, Context(role, 1))
            for role in ("administrator", "finance", "employee")
        ]
        assert offered.adoption[row, column] == pytest.approx(by_role[0].adoption)
        assert offered.gains[row, column] == pytest.approx(by_role[0].margin)
        chances = [answer.acceptance for answer in by_role]
        assert min(chances) - 1e-12 <= offered.acceptance[row, column] <= max(chances) + 1e-12
    assert (offered.acceptance[offered.changes == NO_CHANGE] == 0).all()


def test_the_truth_itself_is_perfect(truth: WorldTruth) -> None:
    lists = judge_lists(truth.acceptance, truth)
    assert lists["margin"].value == pytest.approx(1.0)
    assert lists["acceptance"].value == pytest.approx(1.0)
    told = judge_probabilities(truth.acceptance, truth.acceptance, truth)
    assert told["slope"] == pytest.approx(1.0, abs=1e-6)
    assert told["intercept"] == pytest.approx(0.0, abs=1e-6)
    assert told["observed_to_expected"] == pytest.approx(1.0)
    assert told["log_loss"] < told["base_log_loss"]
    assert told["log_loss_difference"].high < 0


def test_chance_reaches_nothing(truth: WorldTruth) -> None:
    scores = np.random.default_rng(2).random(truth.acceptance.shape)
    share = Gains.of(scores, truth.acceptance, truth.is_open).share()
    half_width = share.high - share.value
    assert abs(share.value) < 3 * half_width / 1.96


def test_too_extreme_probabilities_have_a_slope_below_one() -> None:
    chances = np.linspace(0.02, 0.4, 50)
    odds = chances / (1 - chances)
    said = odds**2 / (1 + odds**2)
    line = calibration_line(said, chances)
    assert line.slope == pytest.approx(0.5)
    assert line.intercept == pytest.approx(0.0, abs=1e-9)


def test_the_error_of_a_slope_is_the_spread_of_slopes_of_drawn_outcomes() -> None:
    rng, n_draws = np.random.default_rng(5), 400
    chances = np.linspace(0.05, 0.5, 2000)
    told = calibration_line(chances, chances)
    slopes = [
        calibration_line(chances, (rng.random(len(chances)) < chances).astype(float)).slope
        for _ in range(n_draws)
    ]
    spread = float(np.std(slopes, ddof=1))
    # the standard error of a standard deviation is a share of 1 / √(2 · draws) of it
    assert abs(spread / told.slope_error - 1) < 3 / (2 * n_draws) ** 0.5
    assert abs(np.mean(slopes) - told.slope) < 3 * told.slope_error / n_draws**0.5


def test_lists_hold_open_offers_only_and_may_be_short() -> None:
    values = np.array([[1.0, 5.0, 2.0], [4.0, 1.0, 1.0]])
    is_open = np.array([[True, False, True], [True, True, True]])
    gains = Gains.of(np.array([[0.0, 9.0, 0.0], [1.0, 2.0, 3.0]]), values, is_open)
    assert gains.ours.tolist() == gains.oracle.tolist() == gains.chance.tolist() == [3.0, 6.0]


def test_newcomers_are_known_by_profile_alone(truth: WorldTruth) -> None:
    states = without_history(truth.states)
    assert [state.profile for state in states] == [state.profile for state in truth.states]
    assert not any(state.holdings or state.past_offer_ids or state.history.months for state in states)
    told = judge_newcomers(truth.acceptance, {"whole": truth.is_open.astype(float)}, truth)
    assert told["whole"]["acceptance"].value > 1


def test_a_ratio_has_an_interval() -> None:
    rng = np.random.default_rng(1)
    below = rng.uniform(1, 2, 4000)
    estimate = ratio_of_means(0.3 * below + rng.normal(0, 0.1, 4000), below)
    assert estimate.low < 0.3 < estimate.high
    assert estimate.high - estimate.low < 0.01
