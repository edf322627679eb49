"""Splits as files for programs that share none of our code, and the lists that come back.

Who compares libraries fairly gives each of them the same files; `benchmarks/peers` reads these.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import orjson
import polars as pl

from recsys.data.snapshot import holding_rows
from recsys.domain import ClientId
from recsys.errors import DataError
from recsys.evaluation.ranking import EMPTY_SLOT
from recsys.models.base import IntArray
from training.pipelines.evaluation.cuts import CutTruth


def write_split(truth: CutTruth, k: int, folder: Path, *, tells_truth: bool) -> None:
    """Write one split: what was known at a cut, and of whom lists of k are wanted.

    Args:
        truth: The cut; lists are wanted of its adopters.
        k: Length of the lists, ≥1.
        folder: Folder to write into; made if missing.
        tells_truth: Whether ``relevant.parquet`` is written too, for a window to tune on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    snapshot, training = truth.known.snapshot, truth.known.training
    row = {state.client_id: number for number, state in enumerate(snapshot.states)}
    judged = np.array([row[truth.client_ids[place]] for place in truth.adopters], dtype=np.int64)
    meta = {"n_clients": len(row), "n_offers": len(training.offers), "k": k}
    (folder / "meta.json").write_bytes(orjson.dumps(meta))
    _train(truth, row).write_parquet(folder / "train.parquet")
    traits = [(client, trait) for client, known in enumerate(training.clients.traits) for trait in known]
    pl.DataFrame(traits, schema={"client": pl.Int64, "trait": pl.String}, orient="row").write_parquet(
        folder / "traits.parquet"
    )
    pl.DataFrame({"client": judged}).write_parquet(folder / "judged.parquet")
    _pairs(truth.seen[truth.adopters], judged).write_parquet(folder / "seen.parquet")
    if tells_truth:
        _pairs(truth.relevant[truth.adopters], judged).write_parquet(folder / "relevant.parquet")


def _train(truth: CutTruth, row: Mapping[ClientId, int]) -> pl.DataFrame:
    """Every (client, offer) known at the cut: how often connected, held now, days since the last time."""
    known, as_of = truth.known, truth.known.snapshot.as_of
    column = {offer_id: number for number, offer_id in enumerate(known.training.offers.offer_ids)}
    days = (pl.lit(as_of) - pl.col("connected_at").max()).dt.total_microseconds() / 86_400e6
    return (
        holding_rows(known.dataset, as_of)
        .filter(pl.col("client_id").is_in(list(row)), pl.col("offer_id").is_in(list(column)))
        .group_by("client_id", "offer_id")
        .agg(pl.len().alias("n"), pl.col("is_held").any(), days.alias("age_days"))
        .select(
            pl.col("client_id").replace_strict(row, return_dtype=pl.Int64).alias("client"),
            pl.col("offer_id").replace_strict(column, return_dtype=pl.Int64).alias("offer"),
            pl.col("n").cast(pl.Int64),
            "is_held",
            "age_days",
        )
        .sort("client", "offer")
    )


def _pairs(pattern: object, judged: IntArray) -> pl.DataFrame:
    rows, columns = pattern.nonzero()  # type: ignore[attr-defined]
    return pl.DataFrame({"client": judged[rows], "offer": columns.astype(np.int64)})


def read_lists(truth: CutTruth, k: int, folder: Path) -> dict[str, IntArray]:
    """The lists that came back, in the order of the truth's adopters.

    Args:
        truth: The cut that `write_split` was given.
        k: Length of the lists.
        folder: The folder of the split.

    Returns:
        By peer, columns of the offers, shape (n_adopters, k); slots left empty hold `EMPTY_SLOT`.

    Raises:
        DataError: A list is missing, too long or too short, or names what it must not.
    """
    path = folder / "lists.parquet"
    frame = pl.read_parquet(path).sort("peer", "client", "rank")
    judged = pl.read_parquet(folder / "judged.parquet")["client"].to_numpy()
    place = np.argsort(np.argsort(judged))
    found: dict[str, IntArray] = {}
    for (peer,), part in frame.group_by(["peer"], maintain_order=True):
        offers = part["offer"].to_numpy()
        if len(offers) != len(judged) * k:
            raise DataError(f"{path}: {peer} has {len(offers)} rows, expected {len(judged)} lists of {k}")
        lists = offers.reshape(len(judged), k)[place].astype(np.int64)
        rows = np.repeat(np.arange(len(judged)), k)
        if lists.min() < EMPTY_SLOT or lists.max() >= len(truth.offers):
            raise DataError(f"{path}: {peer} names an offer that does not exist")
        is_filled = lists.ravel() != EMPTY_SLOT
        if truth.seen[truth.adopters].toarray()[rows[is_filled], lists.ravel()[is_filled]].any():
            raise DataError(f"{path}: {peer} lists what its client already has")
        found[str(peer)] = lists
    return found
