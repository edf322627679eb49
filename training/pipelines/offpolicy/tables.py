"""Tables behind the plots of an off-policy report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import polars as pl

from recsys.evaluation.offpolicy import effective_size
from training.pipelines.offpolicy.families import Belief, Family, Rows
from training.pipelines.offpolicy.log import DecisionLog
from training.pipelines.offpolicy.odds import Odds

_BINS = (0.0, 1e-9, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, np.inf)


def tables_of(
    found: DecisionLog, rows: Rows, odds: Odds, families: Mapping[Belief, Family]
) -> dict[str, pl.DataFrame]:
    """What is plotted, and what analysts ask next."""
    return {
        "weights": pl.concat([_weights(family) for family in families.values()]),
        "slots": pl.concat([_slots(family) for family in families.values()]),
        "policies": _policies(found, rows, odds),
        "offers": _offers(found, odds),
    }


def _weights(family: Family) -> pl.DataFrame:
    """How many slots have a weight between two bounds, and how much of all weight they carry."""
    place = np.digitize(family.weights, _BINS[1:-1])
    n_bins = len(_BINS) - 1
    total = max(float(family.weights.sum()), np.finfo(np.float64).tiny)
    return pl.DataFrame(
        {
            "belief": [family.belief.value] * n_bins,
            "from": list(_BINS[:-1]),
            "to": list(_BINS[1:]),
            "n_slots": np.bincount(place, minlength=n_bins),
            "share_of_weight": np.bincount(place, weights=family.weights, minlength=n_bins) / total,
        }
    )


def _slots(family: Family) -> pl.DataFrame:
    """What the weights of each slot are like."""
    return pl.DataFrame(
        [
            {"belief": family.belief.value, "slot": slot, **asdict(found)}
            for slot, found in family.by_slot.items()
        ]
    )


def _policies(found: DecisionLog, rows: Rows, odds: Odds) -> pl.DataFrame:
    """Each policy that made a part of the log: what it earned, and how much its part says."""
    slates = rows.slates
    whole = slates.whole(odds.given / rows.logging)[slates.is_first]
    by_decision = [
        np.bincount(slates.lists, weights=column, minlength=slates.n_lists) for column in rows.rewards.T
    ]
    is_certain = np.bincount(slates.lists, weights=rows.logging < 1, minlength=slates.n_lists) == 0
    frame = pl.DataFrame(
        {
            "policy": found.decisions["policy_version"].fill_null("?"),
            "activations": by_decision[0],
            "margin_minor": by_decision[1],
            "is_certain": is_certain,
            "weight": whole,
        }
    )
    parts = []
    for (policy,), part in frame.group_by(["policy"], maintain_order=True):
        parts.append(
            {
                "policy": policy,
                "n_decisions": len(part),
                "share_without_chance": part["is_certain"].mean(),
                "activations": part["activations"].mean(),
                "margin_minor": part["margin_minor"].mean(),
                "mean_weight": part["weight"].mean(),
                "ess": effective_size(part["weight"].to_numpy()),
            }
        )
    return pl.DataFrame(parts)


def _offers(found: DecisionLog, odds: Odds) -> pl.DataFrame:
    """How often each offer is shown in the log, and what came of it."""
    return (
        found.slots.select("offer_id", "activations")
        .with_columns(pl.Series("weight", odds.overall / np.maximum(odds.logged_overall, 1e-300)))
        .group_by("offer_id")
        .agg(
            pl.len().alias("n_slots"),
            pl.col("activations").sum(),
            pl.col("weight").fill_nan(None).sum().alias("weighted_slots"),
        )
        .sort("n_slots", "offer_id", descending=[True, False])
    )
