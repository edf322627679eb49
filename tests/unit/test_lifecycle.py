"""Every lifecycle stage and each of its borders, by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from recsys.domain import ClientId, ClientState, Holding, OfferId, Profile, Stage
from recsys.features.lifecycle import (
    Contract,
    StageThresholds,
    contract_of,
    lifecycle_stage,
    stage_of,
)
from recsys.history import History, MonthFigures

TODAY = date(2025, 7, 10)
OLD = Contract(started_on=date(2020, 1, 1))
LIMITS = StageThresholds()


def month(number: int, **figures: int | None) -> MonthFigures:
    """Month `number` of 2025; 0 is December 2024."""
    year, index = divmod(number - 1, 12)
    plain: dict[str, int | None] = {"n_sims_employees": 100, "spend_minor": 1_000, "data_megabytes": 500}
    return MonthFigures(date(2025 + year, index + 1, 1), **{**plain, **figures})  # type: ignore[arg-type]


def months(*values: int | None, figure: str = "n_sims_employees", last: int = 6) -> list[MonthFigures]:
    """Consecutive months up to June, of which one figure varies."""
    first = last - len(values) + 1
    return [month(first + place, **{figure: value}) for place, value in enumerate(values)]


def stage(
    known: list[MonthFigures], contract: Contract = OLD, today: date = TODAY, limits: StageThresholds = LIMITS
) -> Stage:
    return lifecycle_stage(known, contract, today, limits)


CALM = months(100, 100, 100, 100, 100)


class TestContract:
    def test_without_a_contract_a_company_is_a_prospect(self) -> None:
        assert stage([], Contract(None)) is Stage.PROSPECT
        assert stage([], Contract(TODAY + timedelta(days=1))) is Stage.PROSPECT
        assert stage([], Contract(TODAY)) is Stage.ONBOARDING

    def test_a_contract_that_ended_makes_churned(self) -> None:
        ended = Contract(date(2020, 1, 1), ended_on=TODAY)
        assert stage(CALM, ended) is Stage.CHURNED
        assert stage(CALM, ended, TODAY - timedelta(days=1)) is Stage.MATURE

    def test_who_came_back_is_not_churned(self) -> None:
        back = Contract(date(2020, 1, 1), ended_on=date(2025, 1, 1), resumed_on=date(2025, 4, 11))
        assert stage(CALM, back) is Stage.REACTIVATED
        assert stage(CALM, back, date(2025, 4, 10)) is Stage.CHURNED

    def test_an_end_after_a_return_counts(self) -> None:
        gone = Contract(date(2020, 1, 1), ended_on=date(2025, 6, 1), resumed_on=date(2025, 4, 11))
        assert stage(CALM, gone) is Stage.CHURNED

    @pytest.mark.parametrize(("days", "expected"), [(0, "onboarding"), (90, "onboarding"), (91, "steady")])
    def test_the_first_90_days_are_onboarding(self, days: int, expected: str) -> None:
        assert stage([], Contract(TODAY - timedelta(days=days))) == expected

    @pytest.mark.parametrize(("days", "expected"), [(0, "reactivated"), (90, "reactivated"), (91, "mature")])
    def test_90_days_after_a_return_are_reactivated(self, days: int, expected: str) -> None:
        back = Contract(date(2020, 1, 1), resumed_on=TODAY - timedelta(days=days))
        assert stage(CALM, back) == expected

    @pytest.mark.parametrize(("days", "expected"), [(365, "steady"), (366, "mature")])
    def test_more_than_a_year_makes_mature(self, days: int, expected: str) -> None:
        assert stage(CALM, Contract(TODAY - timedelta(days=days))) == expected


class TestAtRisk:
    @pytest.mark.parametrize(
        ("latest", "expected"),
        [((70, 70), "at_risk"), ((71, 70), "steady"), ((70, 71), "steady"), ((100, 70), "steady")],
    )
    def test_a_third_fewer_sims_two_months_in_a_row(self, latest: tuple[int, ...], expected: str) -> None:
        assert stage(months(100, 100, 100, *latest)) == expected

    def test_traffic_counts_like_sims(self) -> None:
        assert stage(months(500, 500, 500, 350, 350, figure="data_megabytes")) is Stage.AT_RISK
        assert stage(months(500, 500, 500, 351, 350, figure="data_megabytes")) is Stage.MATURE

    def test_a_minute_weighs_as_much_as_25_megabytes(self) -> None:
        before = [month(number, voice_minutes=10, data_megabytes=50) for number in (2, 3, 4)]
        after = [month(number, voice_minutes=6, data_megabytes=60) for number in (5, 6)]
        assert stage([*before, *after]) is Stage.AT_RISK  # 210 of 300
        assert stage([*before, *after], limits=StageThresholds(megabytes_per_minute=1)) is Stage.MATURE

    def test_a_loss_of_sims_and_a_loss_of_traffic_are_no_row(self) -> None:
        lost = [month(5, n_sims_employees=70), month(6, data_megabytes=350)]
        assert stage([month(2), month(3), month(4), *lost]) is Stage.STEADY

    @pytest.mark.parametrize(("days", "expected"), [(30, "mature"), (31, "at_risk"), (None, "mature")])
    def test_a_bill_overdue_for_more_than_30_days(self, days: int | None, expected: str) -> None:
        assert stage([*CALM[:-1], month(6, overdue_days=days)]) == expected

    def test_an_old_overdue_bill_is_forgiven(self) -> None:
        assert (
            stage([*months(100, 100, 100, 100, last=5)[:-1], month(5, overdue_days=60), month(6)]) == "mature"
        )

    def test_a_request_to_port_out_is_enough(self) -> None:
        assert stage(CALM, Contract(date(2020, 1, 1), has_port_out_request=True)) is Stage.AT_RISK

    def test_risk_comes_before_onboarding_and_dormancy(self) -> None:
        silent = [month(number, data_megabytes=500 if number < 5 else 0) for number in range(2, 7)]
        assert stage(silent) is Stage.AT_RISK


class TestDormant:
    def test_two_known_months_without_traffic(self) -> None:
        silent = months(0, 0, figure="data_megabytes")
        assert stage(silent) is Stage.DORMANT
        assert stage(silent, Contract(TODAY)) is Stage.DORMANT

    @pytest.mark.parametrize("latest", [(1, 0), (0, 1), (None, 0), (0, None)])
    def test_one_silent_month_is_not_enough(self, latest: tuple[int | None, int | None]) -> None:
        assert stage(months(*latest, figure="data_megabytes")) is Stage.STEADY

    def test_messages_are_traffic(self) -> None:
        assert stage([month(5, data_megabytes=0, n_sms=0), month(6, data_megabytes=0, n_sms=1)]) == "steady"

    def test_a_month_missing_between_two_silent_ones_breaks_the_row(self) -> None:
        assert stage([month(4, data_megabytes=0), month(6, data_megabytes=0)]) is Stage.STEADY


class TestGrowth:
    @pytest.mark.parametrize("figure", ["n_sims_employees", "spend_minor"])
    @pytest.mark.parametrize(
        ("latest", "expected"),
        [((115, 115), "growth"), ((114, 115), "steady"), ((115, 114), "steady"), ((115, 116), "growth")],
    )
    def test_sims_or_spend_15_percent_up(self, figure: str, latest: tuple[int, int], expected: str) -> None:
        assert stage(months(100, 100, 100, *latest, figure=figure), Contract(date(2025, 1, 1))) == expected

    def test_exactly_15_percent_is_growth_whatever_the_rounding(self) -> None:
        for base in (20, 100, 140, 2_000, 10_020):
            grown = base * 115 // 100
            assert stage(months(base, base, base, grown, grown)) is Stage.GROWTH

    def test_every_kind_of_sim_counts(self) -> None:
        grown = [month(5, n_sims_devices=15), month(6, n_sims_field=15)]
        assert stage([month(2), month(3), month(4), *grown]) is Stage.GROWTH

    def test_from_nothing_to_something_is_growth(self) -> None:
        assert stage(months(0, 0, 0, 1, 1)) is Stage.GROWTH
        assert stage(months(0, 0, 0, 0, 0)) is Stage.MATURE

    def test_a_year_before_goes_before_three_months(self) -> None:
        # May and June of the year before were twice as large: no growth, though spring was small
        year_before = [month(number - 12, n_sims_employees=200) for number in (5, 6)]
        spring = months(100, 100, 100, last=4)
        grown = months(200, 200)
        assert stage([*spring, *grown]) is Stage.GROWTH
        assert stage([*year_before, *spring, *grown]) is Stage.MATURE

    def test_january_is_compared_with_january(self) -> None:
        low = [
            month(number, n_sims_employees=60 if number in {1, 0, -11, -12} else 100)
            for number in range(-12, 2)
        ]
        assert stage(low, today=date(2025, 2, 10)) is Stage.MATURE
        assert stage(low[3:], today=date(2025, 2, 10)) is Stage.AT_RISK


class TestMatureAndSteady:
    @pytest.mark.parametrize(
        ("latest", "expected"),
        [((85, 85), "mature"), ((84, 85), "steady"), ((85, 84), "steady"), ((114, 100), "mature")],
    )
    def test_a_stable_client_stays_within_15_percent(self, latest: tuple[int, int], expected: str) -> None:
        assert stage(months(100, 100, 100, *latest)) == expected

    def test_both_figures_must_be_stable(self) -> None:
        assert stage(months(1_000, 1_000, 1_000, 849, 849, figure="spend_minor")) is Stage.STEADY

    def test_an_unknown_figure_does_not_count(self) -> None:
        assert stage(months(None, None, None, None, None, figure="spend_minor")) is Stage.MATURE

    def test_without_figures_nothing_is_stable(self) -> None:
        assert stage([]) is Stage.STEADY
        assert stage(months(100)) is Stage.STEADY
        assert stage(months(100, 100)) is Stage.STEADY


class TestState:
    NOW = datetime(2025, 7, 10, tzinfo=UTC)

    def test_the_word_of_the_operator_goes_first(self) -> None:
        state = ClientState(ClientId("c"), profile=Profile(stage=Stage.GROWTH), history=History(tuple(CALM)))
        assert stage_of(state, TODAY, LIMITS) is Stage.GROWTH
        silent = ClientState(
            ClientId("c"), profile=Profile(client_since_on=date(2020, 1, 1)), history=History(tuple(CALM))
        )
        assert stage_of(silent, TODAY, LIMITS) is Stage.MATURE

    def test_tags_tell_of_the_contract(self) -> None:
        tags = ("contract_ended_on=2025-01-01", "contract_resumed_on=2025-02-01", "port_out=yes", "odd")
        state = ClientState(ClientId("c"), profile=Profile(client_since_on=date(2020, 1, 1), tags=tags))
        assert contract_of(state) == Contract(date(2020, 1, 1), date(2025, 1, 1), date(2025, 2, 1), True)
        unreadable = ClientState(ClientId("c"), profile=Profile(tags=("contract_ended_on=soon",)))
        assert contract_of(unreadable) == Contract(None)

    def test_what_is_connected_tells_since_when(self) -> None:
        holding = Holding("h", OfferId("pbx"), self.NOW - timedelta(days=100))
        state = ClientState(ClientId("c"), holdings=(holding,), history=History((month(1),)))
        assert contract_of(state).started_on == date(2025, 1, 1)
        assert contract_of(ClientState(ClientId("c"), holdings=(holding,))).started_on == date(2025, 4, 1)
        assert contract_of(ClientState(ClientId("c"))).started_on is None
