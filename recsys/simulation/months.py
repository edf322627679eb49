"""The course of clients over months: regimes, lifecycle stages, monthly figures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.domain import Stage
from recsys.simulation.clients import NEVER, BoolArray, Clients, FloatArray, IntArray
from recsys.simulation.sections import Life
from recsys.simulation.timeline import DAY, Timeline

STAGES = tuple(Stage)
CALM, EXPANDING, SHRINKING, SILENT = range(4)

_MONTHS_TO_ENTER = 2
_REACTIVATED_MONTHS = 3
_ONBOARDING_DAYS = 90
_MATURE_DAYS = 365
_JANUARY_TRAFFIC = 0.8


@dataclass(frozen=True, slots=True)
class Course:
    """Where clients stand in one month; each of shape (n_clients,).

    Attributes:
        regimes: Calm, expanding, shrinking or silent.
        months_in_regime: For how many months, this one included.
        months_since_silence: Months since a silence of two months or more ended; large = never.
        scale: Use of the operator's services relative to the start.
        ended_at: End of the contract; `NEVER` while it goes on.
        n_months_gone: Whole months since the contract ended; 0 while it goes on.
    """

    regimes: IntArray
    months_in_regime: IntArray
    months_since_silence: IntArray
    scale: FloatArray
    ended_at: IntArray
    n_months_gone: IntArray


def begin_course(n_clients: int) -> Course:
    """Everybody calm."""
    return Course(
        regimes=np.full(n_clients, CALM),
        months_in_regime=np.full(n_clients, _MONTHS_TO_ENTER),
        months_since_silence=np.full(n_clients, 99),
        scale=np.ones(n_clients),
        ended_at=np.full(n_clients, NEVER),
        n_months_gone=np.zeros(n_clients, dtype=np.int64),
    )


def advance_course(course: Course, clients: Clients, life: Life, rng: np.random.Generator) -> Course:
    """The next month's regimes and scale."""
    luck = rng.random(len(clients))
    expand = life.expand * 2 * clients.traits.growth
    is_calm = course.regimes == CALM
    regimes = course.regimes.copy()
    regimes[is_calm & (luck < expand)] = EXPANDING
    regimes[is_calm & (luck > 1 - life.shrink)] = SHRINKING
    regimes[is_calm & (luck > 1 - life.shrink - life.fall_silent) & (luck <= 1 - life.shrink)] = SILENT
    is_moving = (course.regimes == EXPANDING) | (course.regimes == SHRINKING)
    regimes[is_moving & (luck < life.settle)] = CALM
    wakes = (course.regimes == SILENT) & (luck < life.wake)
    regimes[wakes] = CALM
    was_long = course.months_in_regime >= _MONTHS_TO_ENTER
    pace = np.array([1.0, 1 + life.pace_up, 1 - life.pace_down, 1.0])
    return replace(
        course,
        regimes=regimes,
        months_in_regime=np.where(regimes == course.regimes, course.months_in_regime + 1, 1),
        months_since_silence=np.where(wakes & was_long, 1, course.months_since_silence + 1),
        scale=np.clip(course.scale * pace[regimes], 0.05, 5.0),
    )


def bring_back(course: Course, come_back: float, begins_at: int, rng: np.random.Generator) -> Course:
    """Clients whose contract ended begin a new one with the month."""
    is_gone = course.ended_at <= begins_at
    luck = rng.random(len(is_gone))
    returns = is_gone & (course.n_months_gone >= 1) & (luck < come_back)
    return replace(
        course,
        regimes=np.where(returns, CALM, course.regimes),
        months_in_regime=np.where(returns, 1, course.months_in_regime),
        months_since_silence=np.where(returns, 1, course.months_since_silence),
        ended_at=np.where(returns, NEVER, course.ended_at),
        n_months_gone=np.where(is_gone & ~returns, course.n_months_gone + 1, 0),
    )


def end_contracts(
    course: Course, life: Life, can_leave: BoolArray, month: tuple[int, int], rng: np.random.Generator
) -> Course:
    """Draw who leaves within a month.

    Args:
        course: Where clients stand.
        life: The probabilities.
        can_leave: Who has a contract and nothing on its way.
        month: Its first instant, and the first instant after it.
        rng: Source of the draws.
    """
    is_in_trouble = (course.regimes == SHRINKING) | (course.regimes == SILENT)
    chance = np.where(is_in_trouble, life.leave_in_trouble, life.leave)
    leaves = can_leave & (rng.random(len(chance)) < chance)
    moments = rng.integers(month[0] + DAY, month[1], len(chance))
    return replace(course, ended_at=np.where(leaves, moments, course.ended_at))


def stages_at(course: Course, clients: Clients, instant: int) -> IntArray:
    """Lifecycle stages at an instant, as positions in `STAGES`: the first that matches."""
    # A prospect's contract never begins; the clip keeps the difference within 64 bits.
    age = instant - np.minimum(clients.joined_at, instant + DAY)
    has_settled = course.months_in_regime >= _MONTHS_TO_ENTER
    conditions = {
        Stage.PROSPECT: age < 0,
        Stage.CHURNED: course.ended_at <= instant,
        Stage.AT_RISK: (course.regimes == SHRINKING) & has_settled,
        Stage.DORMANT: (course.regimes == SILENT) & has_settled,
        Stage.ONBOARDING: age <= _ONBOARDING_DAYS * DAY,
        Stage.REACTIVATED: course.months_since_silence <= _REACTIVATED_MONTHS,
        Stage.GROWTH: (course.regimes == EXPANDING) & has_settled,
        Stage.MATURE: age > _MATURE_DAYS * DAY,
    }
    codes = [STAGES.index(stage) for stage in conditions]
    return np.select(list(conditions.values()), codes, default=STAGES.index(Stage.STEADY))


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one month; rows of clients and, for each of them, the columns of ``client_months``."""

    rows: IntArray
    n_sims_employees: IntArray
    n_sims_field: IntArray
    n_sims_devices: IntArray
    spend_minor: IntArray
    voice_minutes: IntArray
    data_megabytes: IntArray
    n_sms: IntArray
    overage_share: FloatArray
    roaming_share: FloatArray
    m2m_share: FloatArray
    overdue_days: IntArray


@dataclass(frozen=True, slots=True)
class Usage:
    """What figures rest on; each of shape (n_clients,).

    Attributes:
        is_active: Whether the client has a contract.
        has_devices: Whether it connects devices.
        services_minor: Monthly price of the services it holds.
    """

    is_active: BoolArray
    has_devices: BoolArray
    services_minor: IntArray


def draw_figures(
    course: Course, clients: Clients, usage: Usage, *, is_january: bool, rng: np.random.Generator
) -> Figures:
    """Draw the figures of one month for active clients."""
    n = len(clients)
    noise = np.exp(0.08 * rng.standard_normal((5, n)))
    mobility, is_silent = clients.traits.mobility, course.regimes == SILENT
    n_office = _counts(0.6 * clients.staff * (1 - mobility) * course.scale + 1)
    n_field = _counts(0.7 * clients.staff * mobility * course.scale)
    n_devices = np.where(usage.has_devices, _counts(3 + 0.8 * clients.staff * mobility), 0)
    n_sims = n_office + n_field
    traffic = np.where(is_silent, 0.0, _JANUARY_TRAFFIC if is_january else 1.0)
    overage = rng.beta(1, 12, n) * traffic
    roaming = rng.beta(1, 15, n) * mobility * traffic
    spend_per_sim = 450 * clients.spend_factor * (0.3 + 0.7 * traffic) * noise[0] * (1 + overage)
    spend = 100 * (spend_per_sim * n_sims + 60 * n_devices)
    overdue_chance = np.where(course.regimes == SHRINKING, 0.25, 0.03)
    overdue = np.where(rng.random(n) < overdue_chance, rng.exponential(15, n), 0)
    columns = Figures(
        rows=np.arange(n),
        n_sims_employees=n_office,
        n_sims_field=n_field,
        n_sims_devices=n_devices,
        spend_minor=_counts(spend) + usage.services_minor,
        voice_minutes=_counts(260 * n_sims * traffic * noise[1]),
        data_megabytes=_counts(6000 * n_sims * traffic * noise[2] * (0.5 + clients.traits.digital)),
        n_sms=_counts(18 * n_sims * traffic * noise[3]),
        overage_share=np.round(overage, 4),
        roaming_share=np.round(roaming, 4),
        m2m_share=np.round(n_devices / (n_sims + n_devices), 4),
        overdue_days=_counts(overdue),
    )
    return _only(columns, usage.is_active)


def is_january(timeline: Timeline, month: int) -> bool:
    """Whether that month is a January, when traffic is low."""
    months_since_1970 = (
        np.datetime64(int(timeline.first_days[month]), "D").astype("datetime64[M]").astype(int)
    )
    return bool(months_since_1970 % 12 == 0)


def _only(figures: Figures, is_active: BoolArray) -> Figures:
    return Figures(*(getattr(figures, name)[is_active] for name in Figures.__slots__))


def _counts(values: NDArray[np.float64]) -> IntArray:
    return np.round(values).astype(np.int64)
