"""Client states as they stood at any moment, out of a dataset's history cut on what was recorded by then.

The states are those that a server has which received the same records in the order of their recording.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import polars as pl

from recsys.data.columns import schema_of
from recsys.data.dataset import Dataset
from recsys.data.state import ACTIVITY_HOURS, CONTACT_TYPES, N_ACTIVITY, N_CONTACTS, N_MONTHS
from recsys.domain import (
    ClientId,
    ClientState,
    Dismissal,
    DismissalReason,
    EventType,
    Holding,
    LegalForm,
    OfferId,
    Profile,
    Size,
    Stage,
)
from recsys.history import (
    NO_ACTIVITY,
    NO_CONTACTS,
    Activity,
    Complaint,
    Contacts,
    History,
    MonthFigures,
)
from recsys.tables import table_named

_PROFILE_COLUMNS = tuple(field.name for field in fields(Profile))
_LEGAL_FORMS = {str(form): form for form in LegalForm}
_SIZES = {str(size): size for size in Size}
_STAGES = {str(stage): stage for stage in Stage}
_REASONS = {str(reason): reason for reason in DismissalReason}
_HOUR_MICROSECONDS = 3_600_000_000
_INSTANT = pl.Datetime("us", "UTC")
Item = TypeVar("Item")


def states_at(dataset: Dataset, moments: Sequence[tuple[str, datetime]]) -> list[ClientState]:
    """The state of a client at a moment, for each pair.

    Args:
        dataset: Validated tables. Of a profile version, a holding or a month the row recorded last
            holds; of an event, and of impressions of one decision and slot, the row recorded first.
        moments: Pairs of client and aware instant. Only rows recorded by then are read.

    Returns:
        One state per pair, in their order, under version 0; a client of whom nothing is known by then
        has an empty one.
    """
    frame = pl.DataFrame(
        {"client_id": [client for client, _ in moments], "at": [instant for _, instant in moments]},
        schema={"client_id": pl.String, "at": _INSTANT},
    )
    with collector_paused():
        return list(replay(dataset, frame))


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking, again and again, over many objects that all stay.

    A hundred thousand states take half as long to make. Everything made here hangs together without
    cycles, so nothing is left behind.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def replay(
    dataset: Dataset, moments: pl.DataFrame, *, has_contacts: bool = True, has_events: bool = True
) -> Iterator[ClientState]:
    """As `states_at`, for a frame with the columns client_id and at.

    Without contacts, which only decisions read, it takes three quarters of the time. Without events only
    profiles, holdings and months are read.
    """
    moments = moments.with_row_index("moment")
    if not has_events:
        tables = {name: frame for name, frame in dataset.tables.items() if name != "events"}
        dataset, has_contacts = replace(dataset, tables=tables), False
    held, past = _holdings(dataset, moments)
    events = _known_events(dataset, moments)
    parts = (
        _spread(moments, _profiles(dataset, moments), None),
        _spread(moments, held, ()),
        _spread(moments, past, ()),
        _spread(moments, _dismissals(events), ()),
        _spread(moments, _months(dataset, moments), ()),
        _spread(moments, _activity(events), NO_ACTIVITY),
        _spread(moments, _complaints(events), None),
        _spread(moments, _contacts(dataset, events) if has_contacts else (), NO_CONTACTS),
    )
    for client_id, profile, holdings, past_ids, dismissals, *history in zip(
        moments["client_id"].to_list(), *parts, strict=True
    ):
        yield ClientState(ClientId(client_id), 0, profile, holdings, past_ids, dismissals, History(*history))


def _spread(moments: pl.DataFrame, found: Iterable[tuple[int, Item]], default: Item) -> Iterator[Item]:
    """One item for each moment, out of those that have one, ascending by moment."""
    items = iter(found)
    position, item = next(items, (-1, default))
    for moment in range(len(moments)):
        if moment == position:
            yield item
            position, item = next(items, (-1, default))
        else:
            yield default


def _grouped(moments: pl.Series, items: Iterable[Item]) -> Iterator[tuple[int, tuple[Item, ...]]]:
    """Items by moment; moments are sorted, one for each item."""
    found = iter(items)
    for n_items, moment in moments.rle().struct.unnest().iter_rows():
        yield moment, tuple(islice(found, n_items))


def _known(moments: pl.DataFrame, rows: pl.DataFrame, column: str = "recorded_at") -> pl.DataFrame:
    """Rows that were known at each moment of their client, in the order of the rows."""
    if moments["at"].n_unique() == 1:
        # what is unknown at the only instant need not be joined first
        rows = rows.filter(pl.col(column) <= moments["at"][0])
    joined = rows.join(moments, on="client_id", maintain_order="left")
    return joined.filter(pl.col(column) <= pl.col("at"))


def _recorded(rows: pl.DataFrame, column: str = "recorded_at") -> pl.DataFrame:
    """Rows in the order of their recording."""
    return rows.sort(column, maintain_order=True)


def _table(dataset: Dataset, name: str) -> pl.DataFrame:
    found = dataset.tables.get(name)
    return pl.DataFrame(schema=schema_of(table_named(name))) if found is None else found


def _profiles(dataset: Dataset, moments: pl.DataFrame) -> Iterator[tuple[int, Profile]]:
    """The version that is valid at each moment; of versions of one valid_from the last recorded."""
    valid = (
        _known(moments, _recorded(dataset.table("clients")))
        .filter(pl.col("valid_from") <= pl.col("at"))
        .sort("moment", "valid_from", maintain_order=True)
        .unique("moment", keep="last", maintain_order=True)
        .filter(pl.col("valid_to").is_null() | (pl.col("valid_to") > pl.col("at")))
        .with_columns(
            pl.col("is_vip").fill_null(value=False),
            pl.col("loyalty_points").fill_null(0),
            pl.col("is_profiling_allowed").fill_null(value=True),
        )
    )
    for moment, name, legal_form, size, industry, region, stage, *rest in valid.select(
        "moment", *_PROFILE_COLUMNS
    ).iter_rows():
        n_employees, revenue_minor, since, is_vip, reviewed_on, points, group_id, tags, is_allowed = rest
        yield (
            moment,
            Profile(
                name,
                _LEGAL_FORMS.get(legal_form, LegalForm.UNKNOWN),
                _SIZES.get(size, Size.UNKNOWN),
                industry,
                region,
                _STAGES.get(stage),
                n_employees,
                revenue_minor,
                since,
                is_vip,
                reviewed_on,
                points,
                group_id,
                tuple(tags or ()),
                is_allowed,
            ),
        )


def _holdings(
    dataset: Dataset, moments: pl.DataFrame
) -> tuple[Iterator[tuple[int, tuple[Holding, ...]]], Iterator[tuple[int, tuple[OfferId, ...]]]]:
    """What was held at each moment, and what had been held before."""
    end = pl.col("disconnected_at")
    rows = _known(moments, _recorded(dataset.table("holdings"))).unique(
        ["moment", "holding_id"], keep="last", maintain_order=True
    )
    is_ended = end.is_not_null() & (end <= pl.col("at"))
    held = rows.filter(~is_ended, pl.col("connected_at") <= pl.col("at")).sort(
        "moment", "connected_at", "holding_id"
    )
    pair = ["moment", "offer_id"]
    past = rows.filter(is_ended).select(pair).unique().join(held, on=pair, how="anti").sort(pair)
    holdings = map(
        Holding,
        held["holding_id"].to_list(),
        held["offer_id"].to_list(),
        held["connected_at"].to_list(),
        held["quantity"].fill_null(1).to_list(),
        held["disconnected_at"].to_list(),
        held["term_ends_on"].to_list(),
    )
    return (
        _grouped(held["moment"], holdings),
        _grouped(past["moment"], map(OfferId, past["offer_id"].to_list())),
    )


def _months(dataset: Dataset, moments: pl.DataFrame) -> Iterator[tuple[int, tuple[MonthFigures, ...]]]:
    rows = (
        _known(moments, _recorded(_table(dataset, "client_months"), "known_at"), "known_at")
        .unique(["moment", "month_on"], keep="last", maintain_order=True)
        .sort("moment", "month_on")
    )
    columns = (rows[name].to_list() for name in MonthFigures._fields)
    for moment, months in _grouped(rows["moment"], map(MonthFigures._make, zip(*columns, strict=True))):
        yield moment, months[-N_MONTHS:]


def _known_events(dataset: Dataset, moments: pl.DataFrame) -> pl.DataFrame:
    """Every event known at each moment, as often as it counts."""
    told = _table(dataset, "events").filter(pl.col("recorded_at") <= pl.lit(moments["at"].max(), _INSTANT))
    rows = _recorded(told).unique("event_id", keep="first", maintain_order=True)
    is_countable = (
        (pl.col("event_type") == str(EventType.IMPRESSION))
        & pl.col("decision_id").is_not_null()
        & pl.col("slot").is_not_null()
    )
    is_repeated = (
        pl.struct("decision_id", "slot", is_countable.alias("is_countable")).is_first_distinct().not_()
        & is_countable
    )
    return _known(moments, rows.filter(~is_repeated))


def _dismissals(events: pl.DataFrame) -> Iterator[tuple[int, tuple[Dismissal, ...]]]:
    rows = (
        events.filter(pl.col("event_type") == str(EventType.DISMISSAL), pl.col("offer_id").is_not_null())
        .with_columns(pl.col("reason").fill_null(str(DismissalReason.NOT_NOW)))
        .sort("occurred_at", "reason")
        .unique(["moment", "offer_id"], keep="last", maintain_order=True)
        .sort("moment", "occurred_at", "offer_id")
    )
    items = (
        Dismissal(offer_id, _REASONS[reason], dismissed_at)
        for offer_id, reason, dismissed_at in rows.select("offer_id", "reason", "occurred_at").iter_rows()
    )
    return _grouped(rows["moment"], items)


def _activity(events: pl.DataFrame) -> Iterator[tuple[int, Activity]]:
    counted = _counted(events, ("offer_id", "event_type"), N_ACTIVITY)
    return ((moment, Activity(*columns)) for moment, columns in counted)


def _counted(
    events: pl.DataFrame, texts: Sequence[str], n_most: int
) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
    """Events of the last 90 days of each moment, counted by hour and texts; of too many entries the last.

    Args:
        events: Known events with their moments.
        texts: Columns of text; null counts as empty.
        n_most: Entries of one moment at most.

    Returns:
        The moment and its columns: hours, each of the texts, counts.
    """
    hour, now = (pl.col(name).dt.epoch("us") // _HOUR_MICROSECONDS for name in ("occurred_at", "at"))
    recent = events.select("moment", hour.alias("hour"), now.alias("now"), pl.col(texts).fill_null(""))
    recent = recent.filter(pl.col("hour") > pl.col("now") - ACTIVITY_HOURS)
    # numbers are grouped and sorted faster than texts
    known = {name: recent[name].unique().sort() for name in texts}
    key = ["moment", "hour", *texts]
    rows = (
        recent.with_columns(pl.col(name).cast(pl.Enum(found)) for name, found in known.items())
        .group_by(key)
        .len()
        .sort(key)
    )
    columns: list[tuple[Any, ...]] = [tuple(rows["hour"].to_list())]
    for name, found in known.items():
        # one text for all its rows instead of one for each
        columns.append(tuple(map(found.to_list().__getitem__, rows[name].to_physical().to_list())))
    columns.append(tuple(rows["len"].to_list()))
    end = 0
    for n_entries, moment in rows["moment"].rle().struct.unnest().iter_rows():
        start, end = end + max(n_entries - n_most, 0), end + n_entries
        yield moment, [column[start:end] for column in columns]


def _complaints(events: pl.DataFrame) -> Iterator[tuple[int, Complaint]]:
    rows = (
        events.filter(pl.col("event_type") == str(EventType.COMPLAINT))
        .with_columns(pl.col("topic", "offer_id").fill_null("").name.prefix("sorted_"))
        .sort("moment", "occurred_at", "sorted_topic", "sorted_offer_id")
        .unique("moment", keep="last", maintain_order=True)
    )
    for moment, *values in rows.select("moment", "occurred_at", "topic", "offer_id").iter_rows():
        yield moment, Complaint(*values)


def _contacts(dataset: Dataset, events: pl.DataFrame) -> Iterator[tuple[int, Contacts]]:
    decisions = _table(dataset, "decisions").select(
        "decision_id", "placement_id", shown_to="member_id", told_at="recorded_at"
    )
    is_known = pl.col("told_at") <= pl.col("at")
    shown = (
        events.filter(pl.col("event_type").is_in([str(kind) for kind in CONTACT_TYPES]))
        .join(decisions, on="decision_id", how="left")
        .with_columns(
            pl.when(is_known).then("placement_id"),
            pl.coalesce("member_id", pl.when(is_known).then("shown_to")),
        )
    )
    counted = _counted(shown, ("offer_id", "event_type", "placement_id", "member_id"), N_CONTACTS)
    return ((moment, Contacts(*columns)) for moment, columns in counted)
