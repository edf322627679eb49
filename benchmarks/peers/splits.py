"""One split as its files say: what a peer may read, and the frame that its scores are ranked in.

A folder of a split holds ``meta.json`` (n_clients, n_offers, k), ``train.parquet`` (client, offer, n,
is_held, age_days), ``traits.parquet`` (client, trait), ``judged.parquet`` (client) and ``seen.parquet``
(client, offer: what must not stand in a list). Clients and offers are numbers. Only splits to tune on hold
``relevant.parquet`` (client, offer).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy import sparse

EMPTY_SLOT = -1


@dataclass(frozen=True)
class Split:
    """One split.

    Attributes:
        n_clients: Number of clients.
        n_offers: Number of offers.
        k: Length of the lists.
        train: What was connected up to the cut: client, offer, how often, held now, days since the last time.
        traits: Facts of the clients' profiles: client, trait.
        judged: Clients to make lists for.
        seen: What must not stand in their lists, judged_by_offers.
        relevant: What they connected afterwards, judged_by_offers; None in a split that is reported on.
    """

    n_clients: int
    n_offers: int
    k: int
    train: pl.DataFrame
    traits: pl.DataFrame
    judged: np.ndarray
    seen: sparse.csr_matrix
    relevant: sparse.csr_matrix | None

    @classmethod
    def read(cls, folder: Path) -> Split:
        """Read the files of a split."""
        meta = json.loads((folder / "meta.json").read_text())
        judged = pl.read_parquet(folder / "judged.parquet")["client"].to_numpy()
        row = np.full(meta["n_clients"], -1)
        row[judged] = np.arange(len(judged))

        def pattern(name: str) -> sparse.csr_matrix:
            pairs = pl.read_parquet(folder / name)
            at = row[pairs["client"].to_numpy()], pairs["offer"].to_numpy()
            return sparse.csr_matrix((np.ones(len(pairs)), at), shape=(len(judged), meta["n_offers"]))

        return cls(
            n_clients=meta["n_clients"],
            n_offers=meta["n_offers"],
            k=meta["k"],
            train=pl.read_parquet(folder / "train.parquet"),
            traits=pl.read_parquet(folder / "traits.parquet"),
            judged=judged,
            seen=pattern("seen.parquet"),
            relevant=pattern("relevant.parquet") if (folder / "relevant.parquet").exists() else None,
        )

    def interactions(self, rows: str, weight: str) -> pl.DataFrame:
        """Pairs to learn from, with column ``weight``.

        Args:
            rows: ``held`` = what is held now; ``seen`` = what was ever seen.
            weight: ``one``, ``count``, ``log`` (1 + log of the count), or a half-life in days as ``days:60``.
        """
        frame = self.train.filter(pl.col("is_held")) if rows == "held" else self.train
        if weight == "one":
            value = pl.lit(1.0)
        elif weight == "count":
            value = pl.col("n").cast(pl.Float64)
        elif weight == "log":
            value = 1.0 + pl.col("n").log()
        else:
            value = 0.5 ** (pl.col("age_days") / float(weight.removeprefix("days:")))
        return frame.select("client", "offer", value.cast(pl.Float32).alias("weight"))

    def matrix(self, rows: str, weight: str) -> sparse.csr_matrix:
        """The same as clients_by_offers."""
        pairs = self.interactions(rows, weight)
        at = pairs["client"].to_numpy(), pairs["offer"].to_numpy()
        shape = (self.n_clients, self.n_offers)
        return sparse.csr_matrix((pairs["weight"].to_numpy(), at), shape=shape, dtype=np.float32)

    def rank(self, scores: np.ndarray) -> np.ndarray:
        """The k best offers of each judged client, best first, of equal scores the first column.

        Slots that no offer may fill hold −1.
        """
        open_scores = np.asarray(scores, dtype=np.float64).copy()
        open_scores[self.seen.nonzero()] = -np.inf
        order = np.argsort(-open_scores, axis=1, kind="stable")[:, : self.k]
        is_allowed = np.take_along_axis(open_scores, order, axis=1) > -np.inf
        ranked = np.full((len(order), self.k), EMPTY_SLOT)
        ranked[:, : order.shape[1]] = np.where(is_allowed, order, EMPTY_SLOT)
        return ranked

    def ndcg(self, ranked: np.ndarray) -> float:
        """Mean NDCG at k with binary gain and the ideal cut at k, over clients with something relevant."""
        if self.relevant is None:
            raise ValueError("nothing relevant is known of a split that is reported on")
        gains = np.take_along_axis(self.relevant.toarray(), np.maximum(ranked, 0), axis=1)
        gains[ranked == EMPTY_SLOT] = 0.0
        discounts = 1.0 / np.log2(np.arange(2, self.k + 2))
        n_relevant = np.minimum(np.asarray(self.relevant.sum(axis=1)).ravel().astype(int), self.k)
        ideal = np.concatenate([[np.nan], np.cumsum(discounts)])[n_relevant]
        return float(np.nanmean(gains @ discounts / ideal))
