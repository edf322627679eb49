"""The VIP status at each of its borders."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from recsys.decision.policy.vip import VipSpec
from recsys.decision.vip import VipOutcome, VipReason, VipReview, review_vip, reviewed_profile
from recsys.domain import ClientId, ClientState, Profile
from recsys.history import History, MonthFigures

TODAY = date(2025, 4, 10)
SPEC = VipSpec(min_mean_spend_minor=1_000, months=3, max_numbers=10, review_months=12)
NOBODY = Profile()


def months(
    *spends: int | None, last: int = 3, sims: tuple[int | None, ...] = (4, 3, 3)
) -> tuple[MonthFigures, ...]:
    """Figures of consecutive months, of which the last is one of 2025."""
    numbers = [2025 * 12 + last - 1 - n for n in reversed(range(len(spends)))]
    return tuple(
        MonthFigures(date(number // 12, number % 12 + 1, 1), *sims, spend_minor=spend)
        for number, spend in zip(numbers, spends, strict=True)
    )


def review(
    figures: tuple[MonthFigures, ...], profile: Profile = NOBODY, spec: VipSpec = SPEC, today: date = TODAY
) -> VipReview:
    return review_vip(ClientState(ClientId("c"), profile=profile, history=History(figures)), spec, today)


def vip(reviewed_on: date | None) -> Profile:
    return Profile(is_vip=True, vip_reviewed_on=reviewed_on)


@pytest.mark.parametrize(
    ("spends", "outcome"),
    [
        ((1_000, 1_000, 1_000), VipOutcome.GRANTED),
        ((0, 0, 3_000), VipOutcome.GRANTED),
        ((1_000, 1_000, 999), VipOutcome.NOT_QUALIFIED),
        ((9_000, 1_000, 1_000, 999), VipOutcome.NOT_QUALIFIED),
        ((1_000, None, 1_000), VipOutcome.UNDECIDED),
        ((5_000, 5_000), VipOutcome.UNDECIDED),
        ((), VipOutcome.UNDECIDED),
    ],
)
def test_the_mean_spend_of_the_latest_months(spends: tuple[int | None, ...], outcome: VipOutcome) -> None:
    assert review(months(*spends)).outcome is outcome


def test_a_month_that_is_missing_in_between_leaves_it_open() -> None:
    figures = months(2_000, 2_000, 2_000, 2_000)
    assert review((figures[0], *figures[2:])).outcome is VipOutcome.UNDECIDED


@pytest.mark.parametrize(
    ("last", "outcome"),
    [(3, VipOutcome.GRANTED), (2, VipOutcome.UNDECIDED), (4, VipOutcome.UNDECIDED)],
)
def test_figures_must_be_of_whole_months_and_fresh(last: int, outcome: VipOutcome) -> None:
    """In May, March is two months back and will do; a third month is not known without it."""
    figures = months(2_000, 2_000, 2_000, last=last)
    today = date(2025, 5, 31) if last < 4 else date(2025, 4, 30)
    assert review(figures, today=today).outcome is outcome


@pytest.mark.parametrize(
    ("sims", "outcome", "reasons"),
    [
        ((10, 0, 0), VipOutcome.GRANTED, ()),
        ((10, 1, 0), VipOutcome.NOT_QUALIFIED, (VipReason.TOO_MANY_NUMBERS,)),
        ((11, None, None), VipOutcome.NOT_QUALIFIED, (VipReason.TOO_MANY_NUMBERS,)),
        ((10, None, 0), VipOutcome.UNDECIDED, (VipReason.NUMBERS_UNKNOWN,)),
    ],
)
def test_at_most_so_many_numbers(
    sims: tuple[int | None, ...], outcome: VipOutcome, reasons: tuple[VipReason, ...]
) -> None:
    found = review(months(1_000, 1_000, 1_000, sims=sims))
    assert (found.outcome, found.reasons) == (outcome, reasons)
    assert review(months(1_000, 1_000, 1_000, sims=sims), spec=replace_spec(max_numbers=None)).outcome is (
        VipOutcome.GRANTED
    )


def replace_spec(**changes: int | None) -> VipSpec:
    return SPEC.model_copy(update=changes)


POOR = months(10, 10, 10)
RICH = months(2_000, 2_000, 2_000)


@pytest.mark.parametrize(
    ("reviewed_on", "poor", "rich"),
    [
        (date(2024, 4, 11), VipOutcome.NOT_DUE, VipOutcome.NOT_DUE),
        (date(2024, 4, 10), VipOutcome.REVOKED, VipOutcome.KEPT),
        (None, VipOutcome.REVOKED, VipOutcome.KEPT),
    ],
)
def test_a_vip_is_judged_when_its_review_is_due(
    reviewed_on: date | None, poor: VipOutcome, rich: VipOutcome
) -> None:
    assert review(POOR, vip(reviewed_on)).outcome is poor
    assert review(RICH, vip(reviewed_on)).outcome is rich
    assert review((), vip(None)).outcome is VipOutcome.UNDECIDED


def test_a_year_after_the_29th_of_february_is_the_28th() -> None:
    leap = vip(date(2024, 2, 29))
    rich = months(2_000, 2_000, 2_000, last=3)
    assert review(rich, leap, today=date(2025, 2, 27)).outcome is VipOutcome.NOT_DUE
    assert review(rich, leap, today=date(2025, 2, 27)).due_on == date(2025, 2, 28)
    assert review((), leap, today=date(2025, 2, 28)).outcome is VipOutcome.UNDECIDED


def test_the_profile_says_what_was_decided_and_when() -> None:
    granted = review(RICH)
    assert reviewed_profile(NOBODY, granted, TODAY) == vip(TODAY)
    assert granted.due_on == date(2026, 4, 10)
    assert (granted.mean_spend_minor, granted.n_numbers) == (2_000, 10)
    revoked = review(POOR, vip(None))
    assert reviewed_profile(vip(None), revoked, TODAY) == replace(vip(TODAY), is_vip=False)
    assert revoked.sentence == "vip_revoked: spend_too_low"
    unchanged = review(POOR)
    assert reviewed_profile(NOBODY, unchanged, TODAY) is NOBODY


def test_a_second_review_on_the_same_day_finds_nothing_to_do() -> None:
    for figures, profile in ((RICH, NOBODY), (RICH, vip(None)), (POOR, vip(None))):
        found = review(figures, profile)
        assert found.is_change
        assert not review(figures, reviewed_profile(profile, found, TODAY)).is_change
