"""Who could enter an experiment now, and what these clients are: what its salt is balanced by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np

from recsys.decision.conditions.compile import ConditionSet
from recsys.decision.conditions.facts import Moment
from recsys.domain import ClientState, Profile
from recsys.experiments.assignment import is_held_out, plain_id, unit_of
from recsys.experiments.capacity import manager_of
from recsys.experiments.experiment import Experiment, Holdout, Stratum
from serving.ports import Store

_CLIENTS_AT_ONCE = 1_000
_UNKNOWN = "unknown"
_BANDS = np.array(["low", "middle", "high"])


class Population(NamedTuple):
    """The clients that could enter, in the order of their ids.

    Attributes:
        client_ids: Who they are.
        unit_ids: Unit of each.
        managers: Who serves each; None = nobody is named.
        strata: For each of the experiment's `stratify_by` what each client is.
    """

    client_ids: tuple[str, ...]
    unit_ids: tuple[str, ...]
    managers: tuple[str | None, ...]
    strata: tuple[tuple[str, ...], ...]


def population_of(
    store: Store, experiment: Experiment, holdout: Holdout, targeting: ConditionSet | None, now: datetime
) -> Population:
    """The clients with a profile that are targeted, not held out, not forced, and may be profiled.

    Args:
        store: Where they live.
        experiment: The experiment.
        holdout: The hold-out.
        targeting: Its condition, compiled; None = everybody.
        now: The present instant.
    """
    unit_ids: list[str] = []
    clients: list[ClientState] = []
    profiles: list[Profile] = []
    for state in _targeted(store, targeting, now):
        profile = state.profile
        if profile is None or not profile.is_profiling_allowed:
            continue
        unit_id = unit_of(state.client_id, profile.account_group_id, experiment.unit)
        held_out_unit = unit_of(state.client_id, profile.account_group_id, holdout.unit)
        if plain_id(unit_id) not in experiment.forced and not is_held_out(holdout, held_out_unit):
            unit_ids.append(unit_id)
            clients.append(state)
            profiles.append(profile)
    labels: Mapping[Stratum, Sequence[str]] = {
        Stratum.SIZE: [_plain(profile.size) for profile in profiles],
        Stratum.STAGE: [_plain(profile.stage) for profile in profiles],
        Stratum.SPEND: _bands([_spend(state) for state in clients]),
    }
    return Population(
        client_ids=tuple(state.client_id for state in clients),
        unit_ids=tuple(unit_ids),
        managers=tuple(manager_of(profile.tags) for profile in profiles),
        strata=tuple(tuple(labels[name]) for name in experiment.stratify_by),
    )


def _targeted(store: Store, targeting: ConditionSet | None, now: datetime) -> Iterator[ClientState]:
    after = ""
    while states := store.client_states(after, _CLIENTS_AT_ONCE):
        after = states[-1].client_id
        if targeting is None:
            yield from states
            continue
        is_meant = targeting.evaluate(states, Moment(now)).is_true[0]
        yield from (state for state, is_in in zip(states, is_meant, strict=True) if is_in)


def _plain(value: str | None) -> str:
    return _UNKNOWN if value is None else str(value)


def _spend(state: ClientState) -> int | None:
    """Billed for the last month that is known."""
    months = state.history.months
    return months[-1].spend_minor if months else None


def _bands(spends: Sequence[int | None]) -> Sequence[str]:
    """Thirds of those who spend; who spends nothing is in the lowest."""
    spending = np.array([spend for spend in spends if spend], dtype=np.float64)
    if not len(spending):
        return [_plain(None if spend is None else "low") for spend in spends]
    bounds = np.quantile(spending, (1 / 3, 2 / 3))
    return [
        _UNKNOWN if spend is None else str(_BANDS[np.searchsorted(bounds, spend, side="left")])
        for spend in spends
    ]
