"""What the figures of an evaluation are called, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo

from recsys.evaluation.intervals import Estimate


class Word(NamedTuple):
    """One figure for people.

    Attributes:
        title: Its name.
        meaning: What it says, and which way is better.
        scale: How it is written: share (three decimals), fine (four), number (two), percent, or money; signed
            where it is a difference.
    """

    title: str
    meaning: str
    scale: str = "share"


RANKING_WORDS: Mapping[str, Word] = MappingProxyType(
    {
        "ndcg": Word(
            "NDCG",
            "How far up the relevant offers stand: one in slot j counts 1 / log2(j + 1); the sum is divided"
            " by that of the best possible list of k slots.",
        ),
        "recall": Word("Recall", "Share of a client's relevant offers that the k slots show."),
        "precision": Word("Precision", "Share of the k slots that hold a relevant offer."),
        "map": Word(
            "MAP",
            "Precision at each slot that holds a relevant offer, summed and divided by the smaller of k and"
            " the number of relevant offers.",
        ),
        "mrr": Word("MRR", "One divided by the slot of the first relevant offer; 0 if there is none."),
        "hit_rate": Word("Hit rate", "Share of clients whose k slots show at least one relevant offer."),
        "ndcg_again": Word(
            "NDCG, repeat",
            "The same NDCG for what a client had or bought before and connected again, ranked among what it"
            " could connect again; over the clients who did. All other figures are about first connections.",
        ),
    }
)
EVERYBODY_WORDS: Mapping[str, Word] = MappingProxyType(
    {
        "adoptions_top_1_percent": Word(
            "Adoptions, top 1 %",
            "Share of all first connections that stand in the best 1 % of all (client, offer) pairs: what a"
            " sales team that works through one list for everybody would meet. At random it is 1 %.",
            "percent",
        ),
        "adoptions_top_5_percent": Word(
            "Adoptions, top 5 %", "The same in the best 5 % of the pairs.", "percent"
        ),
        "margin_top_1_percent": Word(
            "Margin, top 1 %", "Share of the connected margin in the best 1 % of the pairs.", "percent"
        ),
        "margin_top_5_percent": Word(
            "Margin, top 5 %", "Share of the connected margin in the best 5 % of the pairs.", "percent"
        ),
        "margin_at_k": Word(
            "Margin at k",
            "Monthly margin of what clients connected and their k slots showed, mean over all clients.",
            "money",
        ),
        "pr_auc": Word(
            "PR-AUC",
            "For each offer at each cut, clients ordered by score: precision averaged over recall; mean over"
            " offers and cuts, an offer counting at every cut where anybody connected it. It answers: which"
            " clients for this offer? A random order gives the offer's share of adopters.",
            "fine",
        ),
    }
)
LIST_WORDS: Mapping[str, Word] = MappingProxyType(
    {
        "coverage": Word(
            "Coverage", "Share of the offers, at each cut anew, that stand in at least one list.", "percent"
        ),
        "novelty": Word(
            "Novelty",
            "Bits of surprise of a listed offer: −log2 of the share of clients who hold it.",
            "number",
        ),
        "diversity": Word(
            "Diversity",
            "Share of pairs of slots in a list that meet different needs (or shelves).",
            "percent",
        ),
        "gini": Word(
            "Concentration",
            "Gini of the slots over the offers: 0 = all are shown equally often, near 1 = a few take all.",
            "number",
        ),
        "popularity_lift": Word(
            "Popularity bias",
            "Mean share of holders of the listed offers minus that of what the client already holds: above 0"
            " the list leans to what everybody has.",
            "signed",
        ),
    }
)
SHOWN_WORDS: Mapping[str, Word] = MappingProxyType(
    {
        "shown_order": Word(
            "Right order",
            "In a list really shown, of which something was activated within 30 days and something not: share"
            " of such pairs that the model would have put in right order, ties half; at random 50 %.",
            "percent",
        ),
    }
)
_CALIBRATION: Mapping[str, Word] = MappingProxyType(
    {
        "observed_to_expected": Word(
            "Observed / expected",
            "Outcomes divided by the sum of probabilities; 1 is right, below 1 promises too much.",
            "number",
        ),
        "calibration_slope": Word(
            "Slope",
            "Slope of the outcomes' log-odds on the predicted ones; 1 is right, below 1 is too bold.",
            "number",
        ),
        "calibration_intercept": Word(
            "Intercept", "Where that line begins; 0 is right, below 0 promises too much.", "number"
        ),
        "calibration_error": Word(
            "Calibration error",
            "Mean distance between probability and observed share over ten equally full bins.",
            "fine",
        ),
        "calibration_error_by_chance": Word(
            "… by chance alone", "What that error would be if every probability were right.", "fine"
        ),
        "base_rate": Word("Base rate", "Share of the pairs that came true.", "fine"),
        "log_loss": Word("Log-loss", "Mean surprise at the outcomes, in nats; lower is better.", "fine"),
        "log_loss_against_base_rates": Word(
            "… against base rates",
            "Log-loss minus that of each offer's share in these very pairs, pair by pair: below 0 the"
            " probabilities know something of the clients.",
            "fine, signed",
        ),
    }
)
TARGET_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "adoption": "P(first connection within the horizon), judged on the first three slots of the model's"
        " own lists for all clients",
        "acceptance": "P(activation within the horizon of the first impression), judged on what clients were"
        " really shown in slots 1 to 3 after the cut",
    }
)


def calibration_words(target: str) -> dict[str, Word]:
    """Words of the figures on probabilities of that target, by metric."""
    return {f"{target}_{name}": word for name, word in _CALIBRATION.items()}


def figure(value: float, scale: str) -> str:
    """A figure as people read it.

    Example:
        >>> figure(0.1234, "share"), figure(0.1234, "percent"), figure(123456.0, "money")
        ('0.123', '12.3 %', '1,234.56')
    """
    if not math.isfinite(value):
        return "–"
    written = {
        "percent": f"{100 * value:.1f} %",
        "money": f"{value / 100:,.2f}",
        "number": f"{value:.2f}",
        "signed": f"{value:+.3f}",
        "fine": f"{value:.4f}",
        "fine, signed": f"{value:+.4f}",
    }.get(scale, f"{value:.3f}")
    return written.replace("-", "\N{MINUS SIGN}")


def local(cut: datetime, time_zone: str) -> str:
    """The cut in the dataset's zone; at midnight the day alone.

    Example:
        >>> local(datetime.fromisoformat("2024-06-30T21:00:00+00:00"), "Europe/Moscow")
        '2024-07-01'
    """
    return f"{cut.astimezone(ZoneInfo(time_zone)):%Y-%m-%d %H:%M}".removesuffix(" 00:00")


def interval(estimate: Estimate, scale: str) -> str:
    """The ends of an interval; empty where there is none."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return ""
    low, high = figure(estimate.low, scale), figure(estimate.high, scale)
    if "signed" in scale or estimate.low < 0:
        return f"{low} to {high}"
    return f"{low.removesuffix(' %')}–{high}"


def present(names: Sequence[str], metrics: Sequence[str]) -> list[str]:
    """Those of the names that were measured, in their order."""
    return [name for name in names if name in metrics]
