"""Whether a log says anything of a policy, told from the weights: of outcomes only their number counts.

A log speaks of what it showed. Where it never shows what a policy would show, or so rarely that a handful
of rows carry all the weight, an estimate is a number without meaning, and its interval is as wrong as the
estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from recsys.evaluation.intervals import sums_by_unit
from recsys.models.base import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a log is trusted.

    Attributes:
        least_effective: Effective number of rows at least.
        least_clients: Effective number of clients at least; intervals rest on them.
        most_unsupported: Largest share of the policy's choices that the log cannot show, 0–1.
        most_errors: By how many standard errors the mean weight may miss 1.
        least_rewarded: Rows with a reward and a weight at least; without any there is nothing to weigh.
    """

    least_effective: float = 100.0
    least_clients: float = 40.0
    most_unsupported: float = 0.05
    most_errors: float = 3.0
    least_rewarded: int = 3


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What weights are like.

    Attributes:
        n_rows: Rows.
        n_clients: Clients.
        ess: Effective number of rows, (Σw)²/Σw².
        ess_clients: Effective number of clients, the same over each client's sum of weights.
        mean_weight: Mean weight ÷ what it should be; 1 where the log can show all that the policy would.
        mean_weight_error: Its standard error, over clients.
        max_weight: The greatest weight.
        top_share: Share of all weight that the heaviest hundredth of the rows carries, 0–1.
        unsupported: Share of the policy's choices that the log cannot show, 0–1.
        n_rewarded: Rows with a reward and a weight; None = rewards were not looked at.
    """

    n_rows: int
    n_clients: int
    ess: float
    ess_clients: float
    mean_weight: float
    mean_weight_error: float
    max_weight: float
    top_share: float
    unsupported: float
    n_rewarded: int | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether to listen to a log.

    Attributes:
        says: Whether the log says something of the policy.
        ess: Effective number of rows.
        support: Share of the policy's choices that the log can show, 0–1.
        causes: Codes of what speaks against it: ``no_weight``, ``no_support``, ``few_effective``,
            ``few_clients``, ``weights_off``, ``few_rewarded``; empty where `says`.
        slots: For causes that lie in some slots of lists, these slots (1-based).
    """

    says: bool
    ess: float
    support: float
    causes: tuple[str, ...] = ()
    slots: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def effective_size(weights: FloatArray) -> float:
    """(Σw)²/Σw², Kish's effective number of rows; 0 where every weight is 0.

    Example:
        >>> effective_size(np.array([1.0, 1.0, 0.0])), effective_size(np.array([4.0, 0.0]))
        (2.0, 1.0)
    """
    # Large weights must not overflow when squared.
    scaled = weights / max(float(weights.max(initial=0.0)), np.finfo(np.float64).tiny)
    squares = float((scaled**2).sum())
    return float(scaled.sum() ** 2 / squares) if squares > 0 else 0.0


def diagnose(
    weights: FloatArray,
    clients: IntArray,
    unsupported: FloatArray | None = None,
    rewards: FloatArray | None = None,
    due: FloatArray | None = None,
) -> Diagnostics:
    """Look at weights.

    Args:
        weights: Importance weights, ≥0, shape (n_rows,).
        clients: Client of each row, 0 … n_clients − 1, every number used.
        unsupported: P(the policy chooses what the log could not have shown), of each row, 0–1; None = 0.
        rewards: Of each row; only how many there are is looked at.
        due: Expectation of each weight where everything has support, ≥0: below 1 where the policy would
            show nothing, of any size given what stands above in a list; None = 1.
    """
    n_rows = len(weights)
    if n_rows == 0:
        raise ValueError("there are no weights to look at")
    sums = sums_by_unit(weights, clients)
    sizes = sums_by_unit(np.ones(n_rows) if due is None else due, clients)
    total = float(sizes.sum())
    mean = float(weights.sum()) / total if total > 0 else 0.0
    n_clients = len(sums)
    spread = float(((sums - mean * sizes) ** 2).sum()) * n_clients / max(n_clients - 1, 1)
    heaviest = np.sort(weights)[-max(1, n_rows // 100) :]
    return Diagnostics(
        n_rows=n_rows,
        n_clients=n_clients,
        ess=effective_size(weights),
        ess_clients=effective_size(sums),
        mean_weight=mean,
        mean_weight_error=spread**0.5 / total if total > 0 else 0.0,
        max_weight=float(weights.max()),
        top_share=float(heaviest.sum() / weights.sum()) if mean > 0 else 0.0,
        unsupported=0.0 if unsupported is None else float(unsupported.mean()),
        n_rewarded=None if rewards is None else int(((rewards != 0) & (weights > 0)).sum()),
    )


def judge_support(found: Diagnostics, limits: Limits = Limits()) -> Gate:
    """Whether a log says anything of a policy.

    It does if the effective numbers of rows and of clients are large enough, nearly all that the policy
    would show can be shown by the log, and the mean weight is 1 within its error, or misses it by less than
    what may be without support. The last catches support that is missing without anybody having said so.

    Args:
        found: What the weights are like.
        limits: From where on a log is trusted.
    """
    causes = _faults(found, limits)
    if found.n_rewarded is not None and found.n_rewarded < limits.least_rewarded:
        causes.append("few_rewarded")
    return Gate(not causes, found.ess, 1.0 - found.unsupported, tuple(causes))


def judge_slots(found: Mapping[int, Diagnostics], limits: Limits = Limits()) -> Gate:
    """Whether a log of lists says anything of a policy: if the weights of every slot do.

    What is missing in one slot is missing in the value of the list, however well the others stand; so the
    slots are not averaged. Outcomes may come in any slot: their numbers are added up.

    Args:
        found: By slot (1-based), what its weights are like; ≥1.
        limits: From where on a log is trusted.

    Returns:
        The numbers of the slots where they are least.

    Example:
        >>> fine, odd = diagnose(np.ones(200), np.arange(200)), diagnose(np.ones(60), np.arange(60))
        >>> gate = judge_slots({1: fine, 2: odd})
        >>> gate.causes, gate.slots, gate.ess
        (('few_effective',), {'few_effective': (2,)}, 60.0)
    """
    slots: dict[str, tuple[int, ...]] = {}
    for slot in sorted(found):
        for cause in _faults(found[slot], limits):
            slots[cause] = (*slots.get(cause, ()), slot)
    causes = tuple(slots)
    numbers = [each.n_rewarded for each in found.values() if each.n_rewarded is not None]
    if numbers and sum(numbers) < limits.least_rewarded:
        causes = (*causes, "few_rewarded")
    ess = min(each.ess for each in found.values())
    return Gate(not causes, ess, 1.0 - max(each.unsupported for each in found.values()), causes, slots)


def _faults(found: Diagnostics, limits: Limits) -> list[str]:
    """What in the weights speaks against listening."""
    off = abs(found.mean_weight - 1)
    is_off = off > max(limits.most_unsupported, limits.most_errors * found.mean_weight_error)
    return [
        code
        for code, speaks_against in (
            ("no_weight", found.mean_weight == 0),
            ("no_support", found.unsupported > limits.most_unsupported),
            ("few_effective", found.ess < limits.least_effective),
            ("few_clients", found.ess_clients < limits.least_clients),
            ("weights_off", is_off),
        )
        if speaks_against
    ]
