"""Estimates of one belief about lists: which weights, which estimators, and whether the log says anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from recsys.evaluation.offpolicy import (
    Diagnostics,
    Gate,
    Logged,
    Parts,
    Slates,
    cascade_dr,
    diagnose,
    direct,
    doubly_robust,
    importance_weights,
    ips,
    judge_slots,
    optimistic_dr,
    self_normalised_dr,
    slate_ips,
    slate_snips,
    snips,
    switch_dr,
)
from recsys.models.base import FloatArray, IntArray
from training.pipelines.offpolicy.odds import Odds

CAP, THRESHOLD, SHRINKAGE = 10.0, 10.0, 100.0


class Belief(StrEnum):
    """What the reward of a slot may depend on.

    ``cascade``: on its offer and on what stands above it. ``independent``: on its offer and place alone.
    """

    CASCADE = "cascade"
    INDEPENDENT = "independent"


HEADLINES = {Belief.CASCADE: "cascade_dr", Belief.INDEPENDENT: "dr"}


@dataclass(frozen=True, slots=True)
class Rows:
    """The log's slots as arrays.

    Attributes:
        slates: Which row is which slot of which decision.
        clients: Client of each decision, 0 … n_clients − 1, shape (n_decisions,).
        rewards: rows_by_measures.
        logging: Logging probability given the slots above, shape (n_rows,).
        shown: Expected reward of what was shown, rows_by_measures.
    """

    slates: Slates
    clients: IntArray
    rewards: FloatArray
    logging: FloatArray
    shown: FloatArray


@dataclass(frozen=True, slots=True)
class Family:
    """The estimates of one belief.

    Attributes:
        belief: The belief.
        gate: Whether the log says anything.
        by_slot: What the weights of each slot (1-based) are like.
        weights: Of each row.
        parts: Estimates per decision by name, for each measure.
    """

    belief: Belief
    gate: Gate
    by_slot: Mapping[int, Diagnostics]
    weights: FloatArray
    parts: tuple[Mapping[str, Parts], ...]

    @property
    def worst_slot(self) -> int:
        """The slot with most that speaks against it; of several, that with the fewest effective decisions."""

        def standing(slot: int) -> tuple[int, float]:
            n_faults = sum(slot in slots for slots in self.gate.slots.values())
            return -n_faults, self.by_slot[slot].ess

        return min(self.by_slot, key=standing)


def cascade(rows: Rows, odds: Odds) -> Family:
    """A slot's weight is the product of those down to it."""
    slates = rows.slates
    ratios = importance_weights(odds.given, rows.logging)
    weights, whole = slates.down_to(ratios), slates.whole(ratios)
    above = slates.above(weights)
    # The policy leaves what the log can show at a slot, having kept to it above, and is lost for all slots
    # below. Lists of every length count: what short ones lose, long ones must not hide.
    left = np.bincount(slates.slots, weights=above * odds.lost_given).cumsum() / slates.n_lists
    lost = np.minimum(left, 1.0)[slates.slots]
    found = _diagnose(rows, weights, above * odds.filled_given, lost)
    return Family(
        Belief.CASCADE,
        judge_slots(found),
        found,
        weights,
        tuple(
            {
                "sips": slate_ips(slates, rewards, whole),
                "snsips": slate_snips(slates, rewards, whole, is_by_slot=False),
                "rips": slate_ips(slates, rewards, weights),
                "snrips": slate_snips(slates, rewards, weights),
                "cascade_dr": cascade_dr(
                    slates, rewards, weights, (shown + below, expected + odds.filled_given * below)
                ),
            }
            for rewards, shown, expected, below in zip(
                rows.rewards.T,
                rows.shown.T,
                odds.expected_given.T,
                _still_to_come(slates, rows.rewards).T,
                strict=True,
            )
        ),
    )


def independent(rows: Rows, odds: Odds) -> Family | None:
    """A slot's weight is its own; None where the log's chances, whatever stands above, are not known."""
    if np.isnan(odds.logged_overall).any():
        return None
    slates, n_decisions = rows.slates, rows.slates.n_lists
    weights = importance_weights(np.minimum(odds.overall, 1.0), np.minimum(odds.logged_overall, 1.0))
    found = _diagnose(rows, weights, odds.filled, odds.lost)
    parts = []
    for rewards, shown, expected in zip(rows.rewards.T, rows.shown.T, odds.expected.T, strict=True):
        log = Logged(rewards, weights, shown, expected)
        by_row = {
            "ips": ips(log),
            "ips_capped": ips(log, CAP),
            "snips": snips(log),
            "direct": direct(log),
            "dr": doubly_robust(log),
            "sndr": self_normalised_dr(log),
            "switch_dr": switch_dr(log, THRESHOLD),
            "dros": optimistic_dr(log, SHRINKAGE),
        }
        of_measure = {name: each.by_decision(slates.lists, n_decisions) for name, each in by_row.items()}
        parts.append({**of_measure, "sniips": slate_snips(slates, rewards, weights)})
    return Family(Belief.INDEPENDENT, judge_slots(found), found, weights, tuple(parts))


def _still_to_come(slates: Slates, rewards: FloatArray) -> FloatArray:
    """Mean reward of a decision's slots below each row's, rows_by_measures."""
    n_slots = int(slates.slots.max()) + 1
    by_slot = np.zeros((n_slots + 1, rewards.shape[1]))
    np.add.at(by_slot, slates.slots, rewards / slates.n_lists)
    below: FloatArray = by_slot[::-1].cumsum(axis=0)[::-1][slates.slots + 1]
    return below


def _diagnose(rows: Rows, weights: FloatArray, due: FloatArray, lost: FloatArray) -> dict[int, Diagnostics]:
    """What the weights of each slot (1-based) are like, over the lists that have it."""
    found = {}
    for slot in np.unique(rows.slates.slots).tolist():
        at = rows.slates.slots == slot
        clients = np.unique(rows.clients[rows.slates.lists[at]], return_inverse=True)[1]
        found[slot + 1] = diagnose(weights[at], clients, lost[at], rows.rewards[at, 0], due[at])
    return found
