"""Leads as rows: titles, amounts and reasons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.decision.decide import Slot
from recsys.decision.proposals import CHANGES
from recsys.domain import ClientState, Language, Profile
from training.pipelines.scoring.estimates import Scored
from training.pipelines.scoring.lead_choice import Choice, Pairs
from training.pipelines.scoring.rows import Row, explainer_of
from training.pipelines.scoring.sources import CLIENTS_PER_CHUNK, Sources

STATED_PRIOR = "stated_prior"
_SCHEMA: Mapping[str, pl.DataType] = {
    "rank": pl.Int64(),
    "client_id": pl.String(),
    "client_name": pl.String(),
    "account_manager": pl.String(),
    "offer_id": pl.String(),
    "title": pl.String(),
    "change": pl.String(),
    "probability": pl.Float64(),
    "probability_of": pl.String(),
    "quantity": pl.Int64(),
    "unit": pl.String(),
    "margin_minor": pl.Int64(),
    "expected_value_minor": pl.Int64(),
    "currency": pl.String(),
    "price_minor": pl.Int64(),
    "price_period": pl.String(),
    "reasons": pl.List(pl.String()),
}
_AMOUNTS = ("margin", "expected_value", "price")
_MINOR_UNITS = 100
_FORMULA = "=+-@\t\r\n"
_DIGITS = 10


def lead_rows(
    sources: Sources, pairs: Pairs, choice: Choice, language: Language, currency: str
) -> pl.DataFrame:
    """One row per lead, by descending value.

    Args:
        sources: What was decided with.
        pairs: What could be a lead.
        choice: Which of them are.
        language: Language of titles and reasons.
        currency: ISO code of the amounts.
    """
    ranks: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for rank, place in enumerate(choice.places.tolist(), start=1):
        ranks[int(pairs.clients[place])].append((rank, place))
    chosen, rows = sorted(ranks), list[Row]()
    for start in range(0, len(chosen), CLIENTS_PER_CHUNK):
        chunk = chosen[start : start + CLIENTS_PER_CHUNK]
        states = sources.states([sources.client_ids[client] for client in chunk])
        scored = sources.estimates.of(states, sources.as_of)
        for row, (number, state) in enumerate(zip(chunk, states, strict=True)):
            rows += _rows_of(sources, _Client(state, scored, row, ranks[number]), pairs, language)
    told = {name: kind for name, kind in _SCHEMA.items() if name not in ("currency", "unit")}
    frame = pl.DataFrame(rows, schema=told).join(_units(sources), on="offer_id", how="left")
    return frame.with_columns(pl.lit(currency).alias("currency")).select(*_SCHEMA).sort("rank")


def write_csv(leads: pl.DataFrame, path: Path) -> None:
    """Write leads for people: amounts in whole units, reasons as one text.

    A spreadsheet reads the file as UTF-8 by its mark, and takes no text of it for a formula.
    """
    amounts = [_amount(f"{name}_minor") for name in _AMOUNTS]
    names = {f"{name}_minor": name for name in _AMOUNTS}
    rounded = pl.col("probability").round_sig_figs(_DIGITS)
    readable = leads.with_columns(*amounts, rounded, pl.col("reasons").list.join("; "))
    without_formulas(readable).rename(names).write_csv(path, include_bom=True)


def without_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame whose texts a spreadsheet takes for texts: one that would begin a formula gets an apostrophe.

    Example:
        >>> without_formulas(pl.DataFrame({"a": ["=1+1", "b"], "n": [-1, 2]})).rows()
        [("'=1+1", -1), ('b', 2)]
    """
    return frame.with_columns(
        pl.when(pl.col(name).str.slice(0, 1).is_in(list(_FORMULA)))
        .then("'" + pl.col(name))
        .otherwise(name)
        .alias(name)
        for name, kind in frame.schema.items()
        if kind == pl.String()
    )


def _units(sources: Sources) -> pl.DataFrame:
    """What the quantity of each offer counts, as its latest connection known at the moment says."""
    holdings = sources.dataset.tables["holdings"]
    if "unit" not in holdings.columns:
        return pl.DataFrame(schema={"offer_id": pl.String, "unit": pl.String})
    known = holdings.filter(pl.col("unit").is_not_null(), pl.col("recorded_at") <= sources.as_of)
    latest = known.sort("recorded_at", "holding_id").unique("offer_id", keep="last", maintain_order=True)
    return latest.select("offer_id", pl.col("unit").cast(pl.String))


def _amount(column: str) -> pl.Expr:
    minor = pl.col(column)
    cents = (minor % _MINOR_UNITS).cast(pl.String).str.zfill(2)
    return pl.concat_str((minor // _MINOR_UNITS).cast(pl.String), pl.lit("."), cents).alias(column)


@dataclass(frozen=True, slots=True)
class _Client:
    """A client of whom leads are written down.

    Attributes:
        state: What is known of it.
        scored: The clients of its chunk, scored.
        place: Its place in the chunk.
        leads: Rank and place in the pairs of each of its leads, by rank.
    """

    state: ClientState
    scored: Scored
    place: int
    leads: Sequence[tuple[int, int]]


def _rows_of(sources: Sources, client: _Client, pairs: Pairs, language: Language) -> Iterator[Row]:
    state, scored, catalogue = client.state, client.scored, sources.engine.catalogue
    profile = state.profile or Profile()
    prices = catalogue.prices(profile.region, profile.size)
    explainer = explainer_of(sources, state, scored.estimates[client.place], language)
    for rank, place in client.leads:
        position, change = int(pairs.positions[place]), CHANGES[int(pairs.changes[place])]
        price = prices[position]
        slot, evidence = Slot(rank, position, change, 1.0), scored.evidence(client.place, position)
        probability, margin = float(pairs.probabilities[place]), float(pairs.margins[place])
        target = STATED_PRIOR if pairs.is_stated[place] else sources.estimates.recommender.target.value
        yield {
            "rank": rank,
            "client_id": state.client_id,
            "client_name": profile.name,
            "account_manager": manager_of(profile.tags),
            "offer_id": catalogue.offer_ids[position],
            "title": catalogue.texts[language][position].title,
            "change": change.value,
            "probability": probability,
            "probability_of": target,
            "quantity": int(pairs.quantities[place]),
            "margin_minor": round(margin),
            "expected_value_minor": round(probability * margin),
            "price_minor": None if price is None else price.amount_minor,
            "price_period": None if price is None else price.period.value,
            "reasons": [reason.text for reason in explainer.reasons(slot, evidence, price)],
        }


def manager_of(tags: tuple[str, ...]) -> str | None:
    """The account manager that a client's tags name.

    Example:
        >>> manager_of(("agency=NASA", "manager=m-7"))
        'm-7'
    """
    return next((tag.removeprefix("manager=") for tag in tags if tag.startswith("manager=")), None)
