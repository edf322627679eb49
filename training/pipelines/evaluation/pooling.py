"""The cuts of an evaluation, one after another: rows are (cut, client) pairs, columns belong to a cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import polars as pl
from scipy import sparse

from recsys.domain import Offer, Target
from recsys.evaluation.beyond_accuracy import (
    intra_list_diversity,
    novelty,
    popularity_lift,
    recommended_pattern,
)
from recsys.evaluation.intervals import unit_codes
from recsys.evaluation.ranking import Hits
from recsys.models.base import FloatArray, IntArray
from training.pipelines.evaluation.cuts import CutTruth, latest_units
from training.pipelines.evaluation.judge import Forecasts, Judged
from training.pipelines.evaluation.segments import DIMENSIONS


@dataclass(frozen=True, slots=True)
class Shelf:
    """The offers of one cut as figures on lists read them.

    Attributes:
        offer_ids: Their ids.
        titles: What people call them.
        n_clients: Number of clients that the models knew.
        n_holders: How many of them hold each offer, shape (n_offers,).
        groups: Code of each offer's need group, without one of its category; −1 = unknown.
        suppliers: Who provides each offer, None = unknown.
    """

    offer_ids: tuple[str, ...]
    titles: tuple[str, ...]
    n_clients: int
    n_holders: IntArray
    groups: IntArray
    suppliers: tuple[str | None, ...]

    @property
    def popularity(self) -> FloatArray:
        """Share of clients that hold each offer."""
        return self.n_holders / max(self.n_clients, 1)


@dataclass(frozen=True, slots=True)
class CutFacts:
    """What figures need of a cut after it was judged; what models learnt from is not kept.

    Attributes:
        shelf: The offers.
        rows: Everybody observed: cut, client_id, unit, n_relevant, and a column per known dimension of
            `DIMENSIONS`.
        held: What each of them holds, clients_by_offers, as all that follow.
        seen: What each of them ever held or was seen with.
        relevant: What each of them first connected.
        returners: Rows that connected something again.
    """

    shelf: Shelf
    rows: pl.DataFrame
    held: sparse.csr_array
    seen: sparse.csr_array
    relevant: sparse.csr_array
    returners: IntArray

    @property
    def adopters(self) -> IntArray:
        """Rows of the clients with at least one relevant offer."""
        return np.flatnonzero(self.rows["n_relevant"].to_numpy() > 0)


@dataclass(frozen=True, slots=True)
class Pool:
    """All cuts.

    Attributes:
        cuts: The cuts in order.
        rows: Everybody observed at each cut, as in `CutFacts`; a client is one unit at all of them.
        unit_of: Unit of each client.
        units: Unit of each row, 0 … n_units − 1.
        adopters: Rows judged by ranking metrics.
        returners: Rows that connected something again.
    """

    cuts: tuple[CutFacts, ...]
    rows: pl.DataFrame
    unit_of: Mapping[str, str]
    units: IntArray
    adopters: IntArray
    returners: IntArray

    @property
    def adopter_units(self) -> IntArray:
        """Unit of each adopter, without gaps."""
        return unit_codes(self.rows["unit"].gather(self.adopters).to_list())

    def units_of(self, client_ids: Sequence[str]) -> IntArray:
        """Unit of each client, without gaps."""
        return unit_codes([self.unit_of[client_id] for client_id in client_ids])

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What clients can be told apart by here."""
        return tuple(name for name in DIMENSIONS if name in self.rows.columns)


def facts_of(truth: CutTruth) -> CutFacts:
    """What figures need of a cut."""
    return CutFacts(
        shelf=_shelf(truth),
        rows=_rows(truth),
        held=truth.clients.clients_by_offers(),
        seen=truth.seen,
        relevant=truth.relevant,
        returners=np.flatnonzero(np.diff(truth.again.indptr)),
    )


def pool_cuts(cuts: Sequence[CutFacts]) -> Pool:
    """The cuts as one; a client that changed its account group between them is the unit it was last."""
    unit_of = latest_units((cut.rows["client_id"], cut.rows["unit"]) for cut in cuts)
    rows = pl.concat([cut.rows for cut in cuts], how="diagonal")
    rows = rows.with_columns(pl.col("client_id").replace_strict(unit_of).alias("unit"))
    return Pool(
        cuts=tuple(cuts),
        rows=rows,
        unit_of=unit_of,
        units=unit_codes(rows["unit"].to_list()),
        adopters=np.flatnonzero(rows["n_relevant"].to_numpy() > 0),
        returners=_offset([cut.returners for cut in cuts], cuts),
    )


def pool_hits(hits: Sequence[Hits]) -> Hits:
    """Lists of all cuts."""
    return Hits(
        np.concatenate([found.is_relevant for found in hits]),
        np.concatenate([found.n_relevant for found in hits]),
    )


def pool_recommended(pool: Pool, judged: Sequence[Judged]) -> sparse.csr_array:
    """Rows by (cut, offer): an offer counts anew at every cut."""
    parts = [
        recommended_pattern(one.lists, len(cut.shelf.offer_ids))
        for one, cut in zip(judged, pool.cuts, strict=True)
    ]
    return sparse.csr_array(sparse.block_diag(parts, format="csr"))


def pool_forecasts(pool: Pool, judged: Sequence[Judged]) -> dict[Target, Forecasts]:
    """Probabilities of all cuts by what they are probabilities of, columns counted on from cut to cut.

    A recipe may estimate acceptance at one cut and adoption at another, where too little was exposed.
    """
    starts = [0, *accumulate(len(cut.shelf.offer_ids) for cut in pool.cuts)]
    parts: dict[Target, list[tuple[Forecasts, int]]] = {}
    for one, start in zip(judged, starts, strict=False):
        if one.forecasts is not None and len(one.forecasts.outcomes):
            parts.setdefault(one.forecasts.target, []).append((one.forecasts, start))
    return {
        target: Forecasts(
            target=target,
            client_ids=tuple([client_id for one, _ in found for client_id in one.client_ids]),
            columns=np.concatenate([one.columns + start for one, start in found]),
            probabilities=np.concatenate([one.probabilities for one, _ in found]),
            outcomes=np.concatenate([one.outcomes for one, _ in found]),
        )
        for target, found in parts.items()
    }


def pool_shown(pool: Pool, judged: Mapping[str, Sequence[Judged]]) -> tuple[IntArray, dict[str, FloatArray]]:
    """Lists that were shown, of all cuts: their units, and by model how well it orders them."""
    first = next(iter(judged.values()))
    values = {name: np.concatenate([one.shown.values for one in found]) for name, found in judged.items()}
    return pool.units_of([client_id for one in first for client_id in one.shown.client_ids]), values


def list_figures(pool: Pool, judged: Sequence[Judged]) -> dict[str, FloatArray]:
    """What lists are like, one value per row, NaN where not defined."""
    figures: dict[str, Callable[[Judged, CutFacts], FloatArray]] = {
        "novelty": lambda one, cut: novelty(one.lists, cut.shelf.n_holders, cut.shelf.n_clients),
        "diversity": lambda one, cut: intra_list_diversity(one.lists, cut.shelf.groups),
        "popularity_lift": lambda one, cut: popularity_lift(one.lists, cut.held, cut.shelf.popularity),
    }
    if all((cut.shelf.groups < 0).all() for cut in pool.cuts):
        del figures["diversity"]
    cuts = list(zip(judged, pool.cuts, strict=True))
    return {name: np.concatenate([figure(*one) for one in cuts]) for name, figure in figures.items()}


def _rows(truth: CutTruth) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "cut": [truth.as_of] * len(truth.client_ids),
            "client_id": truth.client_ids,
            "unit": truth.units,
            "n_relevant": np.diff(truth.relevant.indptr).astype(np.int64),
            **{name: list(values) for name, values in truth.segments.items()},
        },
        schema_overrides={"cut": pl.Datetime("us", "UTC"), **dict.fromkeys(truth.segments, pl.String)},
    )


def _offset(rows: Sequence[IntArray], cuts: Sequence[CutFacts]) -> IntArray:
    """Rows of each cut as rows of all."""
    starts = [0, *accumulate(len(cut.rows) for cut in cuts)]
    return np.concatenate([found + start for found, start in zip(rows, starts, strict=False)])


def _shelf(truth: CutTruth) -> Shelf:
    training = truth.known.training
    names = [offer.need_group or offer.category for offer in training.catalogue]
    codes = {name: code for code, name in enumerate(sorted({name for name in names if name is not None}))}
    return Shelf(
        offer_ids=training.offers.offer_ids,
        titles=tuple([_title(offer) for offer in training.catalogue]),
        n_clients=len(training.clients),
        n_holders=np.bincount(training.clients.columns, minlength=len(training.offers)),
        groups=np.array([-1 if name is None else codes[name] for name in names], dtype=np.int64),
        suppliers=tuple(offer.supplier_id for offer in training.catalogue),
    )


def _title(offer: Offer) -> str:
    """What people call the offer, else its id."""
    return offer.title.get("en") or offer.title.get("ru") or offer.offer_id
