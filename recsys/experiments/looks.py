"""Which clients a planned moment is about, so that looking later does not make it another look.

A plan is a number of units, a date, or a number of looks. What is judged at it are the clients whose windows
were over by then, and no others, however late one looks.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import numpy as np

from recsys.experiments.comparing import BoolArray
from recsys.experiments.experiment import Method
from recsys.experiments.life import Standing
from recsys.experiments.outcomes import Observed

_DAY = timedelta(days=1)


class Reached(NamedTuple):
    """What is to be judged now.

    Attributes:
        look: Number of the last planned look that was reached; 0 = none, or none is planned.
        is_over: Whether the plan of a fixed experiment is fulfilled.
        kept: The rows that belong to it; all of them where no planned moment was reached.
    """

    look: int
    is_over: bool
    kept: BoolArray


def reached(standing: Standing, observed: Observed) -> Reached:
    """Find the last planned moment that was reached, and the rows that belong to it.

    Units are counted by when the first of their windows was over, whole days only: what ends on the same day
    comes in at once; a row whose primary value is not known yet has not come. A fixed experiment ends at its
    planned units or at its planned end, whichever is first; that it was stopped does not fulfil its plan.
    """
    experiment = standing.experiment
    everybody = np.ones(len(observed.units), dtype=bool)
    if standing.started_at is None or experiment.method is Method.SEQUENTIAL:
        return Reached(0, False, everybody)
    last_day = (observed.now - standing.started_at) // _DAY
    is_ended = False
    if experiment.method is Method.FIXED and experiment.planned_end_at is not None:
        is_ended = observed.now >= experiment.planned_end_at
        last_day = min(last_day, (experiment.planned_end_at - standing.started_at) // _DAY)
    is_in = observed.days <= last_day
    n_looks = experiment.n_looks if experiment.method is Method.GROUP_SEQUENTIAL else 1
    planned = experiment.planned_units
    if planned is not None:
        sizes = [int(np.ceil(planned * number / n_looks)) for number in range(1, n_looks + 1)]
        is_known = ~np.isnan(observed.metrics[experiment.primary.name].values)
        look, kept = _first_units(observed, is_in & is_known, sizes)
        if look:
            is_fixed = experiment.method is Method.FIXED
            return Reached(0 if is_fixed else look, is_fixed, kept)
    return Reached(0, True, is_in) if is_ended else Reached(0, False, everybody)


def _first_units(observed: Observed, is_in: BoolArray, sizes: list[int]) -> tuple[int, BoolArray]:
    """The largest of the sizes that is reached (its number, 0 = none), and the rows of so many units.

    Rows of these units that come later than the day on which the last of them came belong to no look.
    """
    kept = np.zeros(len(observed.units), dtype=bool)
    rows = np.flatnonzero(is_in)
    order = rows[np.lexsort((observed.units[rows], observed.days[rows]))]
    _, first = np.unique(observed.units[order], return_index=True)
    look = int(np.searchsorted(sizes, len(first), side="right"))
    if look:
        starts = order[np.sort(first)][: sizes[look - 1]]
        is_counted = np.isin(observed.units, observed.units[starts])
        kept = is_in & is_counted & (observed.days <= observed.days[starts[-1]])
    return look, kept
