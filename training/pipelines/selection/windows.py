"""Earlier windows: stretches of time before a cut on which a choice may be tried without looking ahead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from recsys.data.dataset import Dataset
from recsys.errors import DataError
from training.pipelines.evaluation.cuts import CutTruth, first_known_at, known_at, take_cut

MAX_WINDOWS = 3
LEAST_HISTORY = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of time.

    Attributes:
        start: What models may know ends here.
        horizon_days: So many days after it are the truth; they end by the cut at the latest.
    """

    start: datetime
    horizon_days: int


def earlier_windows(first: datetime, as_of: datetime, horizon_days: int) -> tuple[Window, ...]:
    """Up to three windows that end by as_of, the latest first, a third of their horizon apart.

    Their horizon is the one asked for, or half of the time known where that is shorter. At least 30 days lie
    before each of them.

    Args:
        first: From when on anything is known, aware.
        as_of: The cut, aware; an error tells it in its own zone.
        horizon_days: The horizon of what is decided on, ≥1.

    Raises:
        DataError: Less than 60 days are known.

    Example:
        >>> first, as_of = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)
        >>> windows = earlier_windows(first, as_of, 60)
        >>> [(str(window.start.date()), window.horizon_days) for window in windows]
        [('2024-05-02', 60), ('2024-04-12', 60), ('2024-03-23', 60)]
    """
    known = as_of - first
    if known < 2 * LEAST_HISTORY:
        raise DataError(
            f"{known.days} days are known at {as_of.isoformat()}: a choice needs at least"
            f" {2 * LEAST_HISTORY.days}; choose a later as_of"
        )
    days = min(horizon_days, known.days // 2)
    latest = as_of.astimezone(UTC) - timedelta(days=days)
    starts = [latest - timedelta(days=round(number * days / 3)) for number in range(MAX_WINDOWS)]
    return tuple(Window(start, days) for start in starts if start - first >= LEAST_HISTORY)


def take_windows(dataset: Dataset, as_of: datetime, horizon_days: int) -> list[CutTruth]:
    """The truths of the earlier windows in which anybody connected anything new, by what is known at as_of.

    Raises:
        DataError: Too little is known at as_of, or there is no such window.
    """
    known = known_at(dataset, as_of)
    here = as_of.astimezone(ZoneInfo(dataset.meta.time_zone))
    truths = []
    for window in earlier_windows(first_known_at(known) or as_of, here, horizon_days):
        truth = take_cut(known, window.start, window.horizon_days)
        if len(truth.adopters):
            truths.append(truth)
    if not truths:
        raise DataError(
            f"nobody connected anything new in the windows before {here.isoformat()}: choose another as_of"
            " or a longer horizon"
        )
    return truths
