"""The tables behind the plots of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from recsys.domain import Target
from recsys.evaluation.beyond_accuracy import exposure_by_offer, exposure_shares
from recsys.evaluation.calibration import reliability_curve
from recsys.evaluation.intervals import bootstrap_means, bootstrap_ratios, unit_codes
from recsys.evaluation.ranking import EMPTY_SLOT, RANKING_METRICS
from recsys.evaluation.report import EvaluationConfig
from training.pipelines.evaluation.judge import CURVE, Forecasts, Judged
from training.pipelines.evaluation.pooling import Pool, pool_hits

LEAST_ROWS = 20
NO_SEGMENTS = f"nothing tells clients apart into segments of at least {LEAST_ROWS} (client, cut) pairs"
N_EXAMPLES = 4
TABLES = (
    "by_cut",
    "by_segment",
    "by_length",
    "gains",
    "reliability",
    "by_offer",
    "by_supplier",
    "importance",
    "examples",
)
_EXAMPLE_SLOTS = 5
_NO_SUPPLIER = "(none named)"


def tables_of(
    pool: Pool,
    config: EvaluationConfig,
    judged: Mapping[str, Sequence[Judged]],
    per_client: pl.DataFrame,
    forecasts: Mapping[str, Mapping[Target, Forecasts]],
) -> dict[str, pl.DataFrame]:
    """Every table that has rows, by name.

    * ``by_cut``: cut, model, n_clients, ndcg, low, high.
    * ``by_segment``: dimension, segment, model, n_clients, ndcg, low, high; segments of fewer than 20
      (client, cut) pairs are one.
    * ``by_length``: model, k, ndcg, recall.
    * ``gains``: model, share of all (client, offer) pairs, share of the adoptions among them.
    * ``reliability``: model, target, expected, observed, low, high, n_pairs, n_outcomes.
    * ``by_offer``: model, offer_id, title, n_adoptions, n_slots, pr_auc, base_rate.
    * ``by_supplier``: model, supplier_id, share of the filled slots, share of the adoptions.
    * ``importance``: model, feature, share of the gain.
    * ``examples``: example, what, model, place, offer_id, title, is_relevant.
    """
    tables = {
        "by_cut": _by_cut(per_client, config),
        "by_segment": _by_segment(per_client, pool, config),
        "by_length": _by_length(judged),
        "gains": _gains(pool, judged),
        "reliability": _reliability(pool, forecasts),
        "by_offer": _by_offer(pool, judged),
        "by_supplier": _by_supplier(pool, judged),
        "importance": _importance(judged),
        "examples": _examples(pool, config, judged),
    }
    return {name: table for name, table in tables.items() if len(table)}


def segment_columns(rows: pl.DataFrame, dimensions: Sequence[str]) -> Iterator[tuple[str, str, pl.Series]]:
    """Each segment with its dimension and whether a row is in it.

    Segments of fewer than 20 rows are one, if that has 20; a dimension of one segment is left out.
    """
    for dimension in dimensions:
        values = rows[dimension].fill_null("unknown")
        counts = values.value_counts().sort("count", dimension, descending=[True, False])
        large = counts.filter(pl.col("count") >= LEAST_ROWS)[dimension].to_list()
        parts = [(segment, values == segment) for segment in large]
        is_small = ~values.is_in(large)
        if is_small.sum() >= LEAST_ROWS:
            parts.append((f"{len(counts) - len(large)} smaller", is_small))
        if len(parts) > 1:
            yield from ((dimension, segment, is_in) for segment, is_in in parts)


def _by_cut(per_client: pl.DataFrame, config: EvaluationConfig) -> pl.DataFrame:
    rows = []
    for (cut, model), group in per_client.group_by(["cut", "model"], maintain_order=True):
        [ndcg] = bootstrap_means(
            group.select("ndcg").to_numpy(),
            unit_codes(group["unit"].to_list()),
            np.random.default_rng(config.seed),
            n_resamples=config.n_resamples,
        )
        rows.append((cut, model, len(group), ndcg.value, ndcg.low, ndcg.high))
    columns = ["cut", "model", "n_clients", "ndcg", "low", "high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def _by_segment(per_client: pl.DataFrame, pool: Pool, config: EvaluationConfig) -> pl.DataFrame:
    rows = pool.rows[pool.adopters]
    segments = list(segment_columns(rows, pool.dimensions))
    models = per_client["model"].unique(maintain_order=True).to_list()
    columns = ["dimension", "segment", "model", "n_clients", "ndcg", "low", "high"]
    if not segments:
        return pl.DataFrame(schema=columns)
    members = np.column_stack([is_in.to_numpy() for _, _, is_in in segments]).astype(np.float64)
    ndcg = per_client["ndcg"].to_numpy().reshape(len(models), len(rows))
    estimates = bootstrap_ratios(
        np.column_stack([members * values[:, None] for values in ndcg]),
        np.column_stack([members] * len(models)),
        pool.adopter_units,
        np.random.default_rng(config.seed),
        n_resamples=config.n_resamples,
    )
    cells = [(model, segment) for model in models for segment in segments]
    return pl.DataFrame(
        [
            (dimension, segment, model, int(is_in.sum()), one.value, one.low, one.high)
            for (model, (dimension, segment, is_in)), one in zip(cells, estimates, strict=True)
        ],
        schema=columns,
        orient="row",
    )


def _by_length(judged: Mapping[str, Sequence[Judged]]) -> pl.DataFrame:
    rows = []
    for name, found in judged.items():
        hits = pool_hits([one.hits for one in found])
        # at most thirty lengths: each costs as much as the whole metric
        for k in sorted({round(float(length)) for length in np.geomspace(1, hits.k, num=30)}):
            cut = hits.cut(k)
            figures = (float(RANKING_METRICS[metric](cut).mean()) for metric in ("ndcg", "recall"))
            rows.append((name, k, *figures))
    return pl.DataFrame(rows, schema=["model", "k", "ndcg", "recall"], orient="row")


def _gains(pool: Pool, judged: Mapping[str, Sequence[Judged]]) -> pl.DataFrame:
    n_adoptions = np.array([cut.relevant.nnz for cut in pool.cuts], dtype=np.float64)
    return pl.DataFrame(
        [
            (name, float(share), float(caught))
            for name, found in judged.items()
            for share, caught in zip(
                CURVE, np.average([one.curve for one in found], axis=0, weights=n_adoptions), strict=True
            )
        ],
        schema=["model", "share_of_pairs", "share_of_adoptions"],
        orient="row",
    )


def _reliability(pool: Pool, forecasts: Mapping[str, Mapping[Target, Forecasts]]) -> pl.DataFrame:
    rows = []
    every = [(name, target, found) for name, one in forecasts.items() for target, found in one.items()]
    for name, target, found in every:
        if not found.outcomes.any():
            continue
        curve = reliability_curve(found.probabilities, found.outcomes, pool.units_of(found.client_ids))
        rows += [
            (
                name,
                str(target),
                one.expected,
                one.observed.value,
                one.observed.low,
                one.observed.high,
                one.n_pairs,
                one.n_outcomes,
            )
            for one in curve
        ]
    columns = ["model", "target", "expected", "observed", "low", "high", "n_pairs", "n_outcomes"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def _by_offer(pool: Pool, judged: Mapping[str, Sequence[Judged]]) -> pl.DataFrame:
    parts = []
    for name, found in judged.items():
        for one, cut in zip(found, pool.cuts, strict=True):
            n_open = len(cut.rows) - cut.seen.sum(axis=0)
            n_adoptions = cut.relevant.sum(axis=0)
            parts.append(
                pl.DataFrame(
                    {
                        "model": name,
                        "offer_id": cut.shelf.offer_ids,
                        "title": cut.shelf.titles,
                        "n_adoptions": n_adoptions.astype(np.int64),
                        "n_open": n_open.astype(np.int64),
                        "n_slots": exposure_by_offer(one.lists, len(cut.shelf.offer_ids)),
                        "area": pl.Series(one.pr_auc, dtype=pl.Float64).fill_nan(None),
                    }
                )
            )
    return (
        pl.concat(parts)
        .group_by("model", "offer_id", maintain_order=True)
        .agg(
            pl.col("title").last(),
            pl.col("n_adoptions", "n_open", "n_slots").sum(),
            pl.col("area").mean().alias("pr_auc"),
        )
        .with_columns((pl.col("n_adoptions") / pl.col("n_open")).alias("base_rate"))
    )


def _by_supplier(pool: Pool, judged: Mapping[str, Sequence[Judged]]) -> pl.DataFrame:
    names = sorted({name for cut in pool.cuts for name in cut.shelf.suppliers if name is not None})
    if not names:
        return pl.DataFrame()
    every = [*names, _NO_SUPPLIER]
    codes = {name: code for code, name in enumerate(every)}
    groups = [
        np.array([codes[name or _NO_SUPPLIER] for name in cut.shelf.suppliers], dtype=np.int64)
        for cut in pool.cuts
    ]
    adopted = np.sum(
        [
            np.bincount(group[cut.relevant.indices], minlength=len(every))
            for group, cut in zip(groups, pool.cuts, strict=True)
        ],
        axis=0,
    )
    rows = []
    for name, found in judged.items():
        shares = np.average(
            [exposure_shares(one.lists, group, len(every)) for one, group in zip(found, groups, strict=True)],
            axis=0,
            weights=[np.count_nonzero(one.lists != EMPTY_SLOT) for one in found],
        )
        rows += [
            (name, supplier, float(share), float(part))
            for supplier, share, part in zip(every, shares, adopted / adopted.sum(), strict=True)
        ]
    columns = ["model", "supplier_id", "share_of_slots", "share_of_adoptions"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def _importance(judged: Mapping[str, Sequence[Judged]]) -> pl.DataFrame:
    """Mean over the cuts."""
    rows = [
        (name, feature, share / len(found))
        for name, found in judged.items()
        for one in found
        for feature, share in one.importance
    ]
    frame = pl.DataFrame(rows, schema=["model", "feature", "share"], orient="row")
    return frame.group_by("model", "feature", maintain_order=True).agg(pl.col("share").sum())


def _examples(pool: Pool, config: EvaluationConfig, judged: Mapping[str, Sequence[Judged]]) -> pl.DataFrame:
    """A few clients of the last cut, drawn by chance: what they have, what they got, what they were shown."""
    cut = pool.cuts[-1]
    drawn = np.random.default_rng(config.seed).permutation(cut.adopters)[:N_EXAMPLES]
    rows = []
    for number, row in enumerate(drawn.tolist(), start=1):
        relevant = set(cut.relevant[[row]].indices.tolist())
        parts = [("has", "", cut.held[[row]].indices.tolist()), ("connected", "", sorted(relevant))]
        parts += [
            (
                "list",
                name,
                [column for column in found[-1].lists[row, :_EXAMPLE_SLOTS].tolist() if column >= 0],
            )
            for name, found in judged.items()
        ]
        rows += [
            (
                number,
                cut.rows["client_id"][row],
                what,
                name,
                place,
                cut.shelf.offer_ids[column],
                cut.shelf.titles[column],
                column in relevant,
            )
            for what, name, columns in parts
            for place, column in enumerate(columns, start=1)
        ]
    columns = ["example", "client_id", "what", "model", "place", "offer_id", "title", "is_relevant"]
    return pl.DataFrame(rows, schema=columns, orient="row")
