"""Groups of clients for which an evaluation gives figures of their own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from recsys.domain import ClientState, Profile, Size
from recsys.features.lifecycle import StageThresholds, stage_of

DIMENSIONS = ("history", "tenure", "size", "stage", "industry", "region")
"""What clients are told apart by; `history` is what a model could read of them."""

_TENURES = ((90, "under 3 months"), (365, "3–12 months"), (1096, "1–3 years"))


def segments_of(states: Sequence[ClientState], on: date) -> dict[str, tuple[str | None, ...]]:
    """What each client is, by dimension.

    Args:
        states: The clients.
        on: The day on which they are looked at.

    Returns:
        One value per client, None = unknown, by `DIMENSIONS`; a dimension of which nothing is known of
        anybody is left out.
    """
    thresholds = StageThresholds()
    found: dict[str, list[str | None]] = {
        "history": [_history(state) for state in states],
        "size": [_size(state.profile) for state in states],
        "stage": [_stage(state, on, thresholds) for state in states],
        "industry": [None if state.profile is None else state.profile.industry for state in states],
        "region": [None if state.profile is None else state.profile.region for state in states],
        "tenure": [_tenure(state.profile, on) for state in states],
    }
    return {name: tuple(values) for name, values in found.items() if any(values)}


def _history(state: ClientState) -> str:
    """Warm with anything held, cold without; a model has little to read of a cold client."""
    return "warm" if state.holdings else "cold"


def _size(profile: Profile | None) -> str | None:
    return None if profile is None or profile.size is Size.UNKNOWN else profile.size.value


def _stage(state: ClientState, on: date, thresholds: StageThresholds) -> str | None:
    profile = state.profile
    is_known = profile is not None and (profile.stage is not None or profile.client_since_on is not None)
    return stage_of(state, on, thresholds).value if is_known else None


def _tenure(profile: Profile | None, on: date) -> str | None:
    """How long the client has been one, in classes.

    Example:
        >>> _tenure(Profile(client_since_on=date(2024, 1, 1)), date(2024, 6, 1))
        '3–12 months'
    """
    if profile is None or profile.client_since_on is None:
        return None
    n_days = (on - profile.client_since_on).days
    return next((name for limit, name in _TENURES if n_days < limit), "over 3 years")
