"""What decisions were worth, beside what the log had promised."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.experiments.experiment import Arm, Expected, Experiment, Measure, Metric
from recsys.experiments.outcomes import DecisionValues
from recsys.experiments.results import DecisionValue
from recsys.experiments.worth import decision_worth

N = 400


def worth(values: DecisionValues | None, *expected: Expected | None) -> tuple[DecisionValue, ...]:
    arms = (
        Arm(name="control", weight=0.5, expected=expected[0]),
        Arm(name="new", weight=0.5, expected=expected[1]),
    )
    experiment = Experiment(
        experiment_id="short",
        title="t",
        hypothesis="h",
        owner="o",
        arms=arms,
        primary=Metric(name="taken", measure=Measure.ACTIVATIONS),
        minimum_effect=0.1,
    )
    return decision_worth(experiment, values)


def seen(share: float = 0.5, *, is_comparable: bool = True) -> DecisionValues:
    """Units of two arms with two decisions each; a share of them brought 300."""
    margins = np.where(np.arange(N) // 2 < share * N / 2, 300.0, 0.0)
    return DecisionValues(np.arange(N), np.arange(N) % 2, margins, np.full(N, 2.0), is_comparable)


def promise(value: float, days: int | None = None, months: int | None = None) -> Expected:
    return Expected(value=value, low=value - 5, high=value + 5, source="run", days=days, months=months)


def test_intervals_that_overlap_agree() -> None:
    control, new = worth(seen(), promise(75), promise(120, days=30, months=12))
    assert control.measured.value == pytest.approx(75)
    assert (control.n_decisions, control.agrees, new.agrees) == (N, True, False)
    assert (control.expected_days, control.expected_months) == (30, 12)
    half = 1.96 * 150 / np.sqrt(N / 2) / 2
    assert control.measured.high - control.measured.value == pytest.approx(half, rel=0.01)


@pytest.mark.parametrize(("days", "months"), [(14, None), (30, 6), (14, 6)])
def test_other_days_or_months_stand_beside_it_and_are_not_compared(days: int, months: int | None) -> None:
    control, _ = worth(seen(), promise(75, days, months), None)
    assert control.expected is not None
    assert control.measured.cause is None
    assert (control.expected_days, control.expected_months) == (days, months or 12)
    assert control.agrees is None


def test_lists_that_an_estimate_leaves_out_are_not_compared() -> None:
    assert worth(seen(is_comparable=False), promise(75), None)[0].agrees is None


@pytest.mark.parametrize(("share", "cause"), [(0.0, "few_events"), (0.04, "few_events")])
def test_too_little_says_neither_yes_nor_no(share: float, cause: str) -> None:
    control, _ = worth(seen(share), promise(75), None)
    assert (control.measured.cause, control.agrees) == (cause, None)
    assert np.isnan(control.measured.high)


def test_one_unit_that_carries_all_of_it_says_neither_yes_nor_no() -> None:
    values = seen(0.5)
    values.margins[0] = 1e6
    control, new = worth(values, promise(75), promise(75))
    assert (control.measured.cause, control.agrees) == ("lopsided", None)
    assert new.agrees is True


def test_no_decision_is_no_line_and_no_unit_is_a_cause() -> None:
    assert worth(None, None, None) == ()
    nobody = DecisionValues(np.arange(3), np.zeros(3, dtype=np.int64), np.zeros(3), np.ones(3))
    assert [one.measured.cause for one in worth(nobody, None, promise(1))] == ["few_units", "no_units"]
