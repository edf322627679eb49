"""How many people a client employs, guessed from its SIM cards where nobody told."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from recsys.domain import ClientState, Profile
from recsys.features.lifecycle import n_sims

MIN_COMPANIES = 100
"""Companies whose staff and SIM cards are both known, below which nothing is guessed."""

# a line that explains less of what companies differ by would call nearly all of them average
_LEAST_EXPLAINED = 0.5
_LEAST_SPREAD = 1e-9


class StaffLine(NamedTuple):
    """``log(1 + employees) ≈ base + slope · log(1 + SIM cards)``.

    Attributes:
        base: Where SIM cards are none.
        slope: Above 0.
    """

    base: float
    slope: float

    def profile_of(self, state: ClientState) -> Profile | None:
        """The client's profile, with a guessed number of employees where none is known but SIM cards are.

        Example:
            >>> from recsys.history import History, MonthFigures
            >>> from datetime import date
            >>> months = (MonthFigures(date(2025, 1, 1), n_sims_employees=7),)
            >>> unknown = ClientState("c", profile=Profile(), history=History(months=months))
            >>> StaffLine(0.0, 1.0).profile_of(unknown).n_employees
            7
        """
        profile = state.profile
        if profile is None or profile.n_employees is not None:
            return profile
        sims = _sims_of(state)
        if sims is None:
            return profile
        guess = math.expm1(self.base + self.slope * math.log1p(sims))
        return replace(profile, n_employees=max(1, round(guess)))


def fit_staff_line(states: Iterable[ClientState]) -> StaffLine | None:
    """Least squares over the companies of which both numbers are known.

    Args:
        states: Every client.

    Returns:
        None where fewer than `MIN_COMPANIES` tell, or where SIM cards explain less than half of the variance.
    """
    known = [
        (sims, state.profile.n_employees)
        for state in states
        if state.profile is not None
        and state.profile.n_employees is not None
        and (sims := _sims_of(state)) is not None
    ]
    if len(known) < MIN_COMPANIES:
        return None
    logs = np.log1p(np.array(known, dtype=np.float64).T)
    (of_sims, both), (_, of_staff) = np.cov(logs)
    if of_sims < _LEAST_SPREAD or both <= 0 or both**2 < _LEAST_EXPLAINED * of_sims * of_staff:
        return None
    slope = float(both / of_sims)
    mean_sims, mean_staff = logs.mean(axis=1).tolist()
    return StaffLine(mean_staff - slope * mean_sims, slope)


def _sims_of(state: ClientState) -> int | None:
    months = state.history.months
    return n_sims(months[-1]) if months else None
