"""The seed of a small experiment, chosen by balance before its start.

With a few hundred units chance may well put most large clients into one arm. So many seeds are tried before
anything has happened; those under which the arms are most alike are admissible, and one of them is *drawn*.
To take the best one would leave nothing random; of an admissible one drawn at random the randomisation test
over all of them is exact.

How unlike the arms are: for each arm a of weight w and each column x of the units (how many they are, their
clients, and their clients of each size, each stage, each spend, each combination of these)
z = (Σ_{u in a} x_u − w Σ_u x_u) / √(w (1 − w) Σ_u x_u²), and the imbalance is the mean of z² over arms and
columns: 1 is what chance gives.

Source:
    K. L. Morgan, D. B. Rubin, Rerandomization to improve covariate balance in experiments (2012),
    Annals of Statistics 40(2), 1263–1282.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConflictError
from recsys.experiments.assignment import ArmArray, assignments_of
from recsys.experiments.experiment import Experiment
from recsys.experiments.hashing import hash_share
from recsys.experiments.life import draft
from recsys.models.base import FloatArray

Labels = Sequence[str] | NDArray[np.int64]
"""What each client is in one respect: names or codes."""

_LEAST_ADMISSIBLE = 200
"""So many are needed for a p-value of 0.005."""
_MOST_UNITS = 100_000
_MOST_DRAWN = 20_000_000
"""Seeds times units: what is tried within seconds."""
_BLOCK = 50


class Balance(NamedTuple):
    """A seed and those that are as good.

    Attributes:
        salt: The seed, drawn among the admissible ones.
        admissible_salts: The most balanced seeds, the best one first.
        imbalance: Of the seed; chance gives 1.
        worst_admitted: The largest imbalance among the admissible seeds.
        median: The median over all seeds that were tried.
        n_units: Number of units that were divided.
    """

    salt: str
    admissible_salts: tuple[str, ...]
    imbalance: float
    worst_admitted: float
    median: float
    n_units: int


def candidate_salts(experiment: Experiment) -> tuple[str, ...]:
    """The seeds among which the one of an experiment is chosen."""
    return tuple(f"{experiment.seed}/{number}" for number in range(experiment.n_salts))


def choose_salt(experiment: Experiment, unit_ids: Sequence[str], strata: Sequence[Labels]) -> Balance:
    """Choose the seed of an experiment before its start.

    Balance is that at full coverage, to which a ramp leads.

    Args:
        experiment: A draft.
        unit_ids: Unit of each client that may enter: targeted, not held out, not forced.
        strata: For each of `stratify_by` what each of these clients is.

    Returns:
        The seed and the admissible ones: the best `admissible_share` of `n_salts`, at least 200 where so
        many were tried.

    Raises:
        ConflictError: There are fewer units than two for each arm, or so many that chance balances them, or
            too many seeds for so many units.
        ValueError: The lengths differ.
    """
    if any(len(labels) != len(unit_ids) for labels in strata):
        lengths = ", ".join(str(len(labels)) for labels in strata)
        raise ValueError(f"strata have {lengths} clients, unit_ids {len(unit_ids)}; give one label for each")
    units, unit_of_client = _distinct(unit_ids)
    salts = candidate_salts(experiment)
    # which part of its layer an experiment has does not depend on the salt
    is_in = assignments_of(draft(experiment), salts[:1], units)[0] >= 0
    _check_number(experiment, int(is_in.sum()))
    columns = _columns(unit_of_client, strata, is_in)
    # what fewer units have than that cannot be in every arm
    columns = columns[:, np.count_nonzero(columns, axis=0) >= 2 * len(experiment.arms)]
    entering = [unit for unit, enters in zip(units, is_in, strict=True) if enters]
    imbalance = _imbalance_by_salt(experiment, salts, entering, columns)
    order = np.argsort(imbalance, kind="stable")
    n_admissible = max(ceil(experiment.admissible_share * len(salts)), min(_LEAST_ADMISSIBLE, len(salts)))
    admitted = order[:n_admissible]
    coin = hash_share(f"{experiment.seed}/draw", experiment.experiment_id)
    drawn = admitted[int((coin or 0.0) * n_admissible)]
    return Balance(
        salt=salts[drawn],
        admissible_salts=tuple(salts[number] for number in admitted),
        imbalance=float(imbalance[drawn]),
        worst_admitted=float(imbalance[admitted[-1]]),
        median=float(np.median(imbalance)),
        n_units=len(entering),
    )


def _distinct(unit_ids: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
    """The units, in order of name, and the place of each client's unit."""
    units = sorted(set(unit_ids))
    places = {unit: place for place, unit in enumerate(units)}
    return units, np.array([places[unit] for unit in unit_ids], dtype=np.intp)


def _check_number(experiment: Experiment, n_units: int) -> None:
    name, n_arms = experiment.experiment_id, len(experiment.arms)
    if n_units < 2 * n_arms:
        raise ConflictError(
            f"experiment {name!r} has {n_units} units for {n_arms} arms, and 2 for each are the least;"
            " widen its targeting"
        )
    if n_units > _MOST_UNITS:
        raise ConflictError(
            f"experiment {name!r} has {n_units:,} units, and chance alone balances more than {_MOST_UNITS:,};"
            " write is_balanced: false"
        )
    if experiment.n_salts * n_units > _MOST_DRAWN:
        raise ConflictError(
            f"experiment {name!r} would draw {n_units:,} units {experiment.n_salts:,} times, and"
            f" {_MOST_DRAWN:,} draws of a unit are the most; write n_salts: {_MOST_DRAWN // n_units} or less,"
            " or is_balanced: false"
        )


def _columns(
    unit_of_client: NDArray[np.intp], strata: Sequence[Labels], is_in: NDArray[np.bool_]
) -> FloatArray:
    """What is to be alike in the arms, n_units_that_enter_by_columns."""
    codes = [np.unique(np.asarray(labels), return_inverse=True)[1] for labels in strata]
    if len(codes) > 1:
        codes.append(np.unique(np.column_stack(codes), axis=0, return_inverse=True)[1].reshape(-1))
    members = [unit_of_client]
    members += [unit_of_client[of_client == code] for of_client in codes for code in np.unique(of_client)]
    counts = [np.bincount(each, minlength=len(is_in))[is_in] for each in members]
    return np.column_stack([np.ones(int(is_in.sum())), *counts])


def _imbalance_by_salt(
    experiment: Experiment, salts: Sequence[str], units: Sequence[str], columns: FloatArray
) -> FloatArray:
    standing = draft(experiment)
    found = [
        _imbalance(
            assignments_of(standing, salts[begin : begin + _BLOCK], units), columns, experiment.weights
        )
        for begin in range(0, len(salts), _BLOCK)
    ]
    return np.concatenate(found)


def _imbalance(arms: ArmArray, columns: FloatArray, weights: Sequence[float]) -> FloatArray:
    """Mean z² of each assignment.

    Args:
        arms: n_salts_by_units.
        columns: n_units_by_columns.
        weights: Of the arms.

    Returns:
        Shape (n_salts,).
    """
    totals, squares = columns.sum(axis=0), (columns**2).sum(axis=0)
    squared = np.zeros(len(arms))
    for number, weight in enumerate(weights):
        sums = (arms == number).astype(np.float64) @ columns
        squared += ((sums - weight * totals) ** 2 / (weight * (1 - weight) * squares)).mean(axis=1)
    return squared / len(weights)
