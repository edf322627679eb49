"""The truth at a cut: what was known then, whom to judge on, and what they connected afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from scipy import sparse

from recsys.data.dataset import Dataset
from recsys.data.snapshot import Snapshot, holding_rows, parse_as_of, take_snapshot
from recsys.data.splits import first_adoptions
from recsys.domain import ClientState, HoldingsKind
from recsys.errors import ConfigError, DataError, LeakageError
from recsys.models.base import ClientBatch, IntArray, OfferIndex, TrainingSet
from training.pipelines.evaluation.segments import segments_of

_KNOWN_COLUMN: Mapping[str, str] = MappingProxyType({"client_months": "known_at"})


class KnownWorld(NamedTuple):
    """What models may learn from.

    Attributes:
        snapshot: The world as it was known at an instant.
        training: The same as arrays.
        dataset: The data that were known then: nothing recorded later.
    """

    snapshot: Snapshot
    training: TrainingSet
    dataset: Dataset


@dataclass(frozen=True, slots=True)
class CutTruth:
    """One cut in time: what models may learn from, and what they are judged on.

    Attributes:
        as_of: The cut: clients are judged as they stood then, on what followed.
        known: What models may learn from: the world when the embargo began.
        clients: Every client observed from the cut to the end of the horizon.
        client_ids: Their ids, in the order of `clients`.
        units: What is resampled in each client's place: its account group, else the client itself.
        segments: What each of them is, by dimension; see `segments_of`.
        seen: What each of them ever held or was seen with up to the cut, clients_by_offers.
        relevant: What each of them first connected within the horizon, clients_by_offers.
        returnable: What each of them could connect again: it had it before and does not hold it, or bought
            it; clients_by_offers.
        again: What of that it did connect again within the horizon, clients_by_offers.
    """

    as_of: datetime
    known: KnownWorld
    clients: ClientBatch
    client_ids: tuple[str, ...]
    units: tuple[str, ...]
    segments: Mapping[str, tuple[str | None, ...]]
    seen: sparse.csr_array
    relevant: sparse.csr_array
    returnable: sparse.csr_array
    again: sparse.csr_array

    @property
    def offers(self) -> OfferIndex:
        """The columns: the offers that models may know."""
        return self.known.training.offers

    def told(self) -> str:
        """The cut in the dataset's zone: its day, or the instant where it is no midnight."""
        return told(self.as_of, self.known.dataset.meta.time_zone)

    @property
    def adopters(self) -> IntArray:
        """Rows of the clients with at least one relevant offer."""
        return np.flatnonzero(np.diff(self.relevant.indptr))


def told(instant: datetime, time_zone: str) -> str:
    """An instant as it would be typed: its day in the zone, or the instant where that is no midnight."""
    here = instant.astimezone(ZoneInfo(time_zone))
    return here.date().isoformat() if here.time() == time.min else here.isoformat()


def parse_cut(cut: datetime | str, time_zone: str) -> datetime:
    """A cut as an instant in UTC.

    Args:
        cut: An aware instant, or text: a day, which means its midnight in the time zone, or an ISO instant
            with its offset.
        time_zone: The dataset's time zone.

    Raises:
        ConfigError: It is neither, or the instant has no time zone.

    Example:
        >>> parse_cut("2024-07-01", "Europe/Moscow").isoformat()
        '2024-06-30T21:00:00+00:00'
    """
    try:
        return parse_as_of(cut if isinstance(cut, str) else cut.isoformat(), time_zone)
    except ValueError as error:
        raise ConfigError(f"as_of {error}") from None


def spread_cuts(cuts: Sequence[str], n_cuts: int | None, every_days: int | None) -> list[str]:
    """The cuts as given, or so many that end at the one given.

    Args:
        cuts: Days or instants, as typed.
        n_cuts: How many there shall be, ≥1; None = as given.
        every_days: Days between them, ≥1.

    Raises:
        ConfigError: Only one of the two is given, or they do not go with several cuts or with an instant.

    Example:
        >>> spread_cuts(["2024-07-01"], 3, 30)
        ['2024-05-02', '2024-06-01', '2024-07-01']
    """
    if n_cuts is None and every_days is None:
        return list(cuts)
    if n_cuts is None or every_days is None or len(cuts) != 1:
        raise ConfigError("--cuts and --every-days go together, and with one day as --as-of: the last cut")
    try:
        last_on = date.fromisoformat(cuts[0])
    except ValueError:
        raise ConfigError(
            f"as_of {cuts[0]!r} is no day like 2024-07-01, which --cuts counts back from"
        ) from None
    try:
        first_on = last_on - timedelta(days=every_days * (n_cuts - 1))
    except OverflowError:
        raise ConfigError(
            f"{n_cuts} cuts {every_days} days apart begin before any calendar: choose fewer or closer ones"
        ) from None
    return [(first_on + timedelta(days=every_days * number)).isoformat() for number in range(n_cuts)]


def first_known_at(dataset: Dataset) -> datetime | None:
    """From when on both clients and holdings are known; None where there are none."""
    found = [dataset.table(name)["recorded_at"].min() for name in ("clients", "holdings")]
    instants = [instant for instant in found if isinstance(instant, datetime)]
    return max(instants) if len(instants) == len(found) else None


def check_start(dataset: Dataset, cuts: Iterable[datetime], embargo_days: int = 0) -> None:
    """Refuse a cut at which models would know nothing.

    Raises:
        DataError: A cut, less the embargo, lies before clients and holdings are known; the text names that
            day.
    """
    first = first_known_at(dataset)
    for cut in cuts:
        if first is not None and cut < first + timedelta(days=embargo_days):
            zone = dataset.meta.time_zone
            first_on = first.astimezone(ZoneInfo(zone)).date()
            embargo, less = (
                (f", less {embargo_days} days of embargo,", " or a shorter embargo")
                if embargo_days
                else ("", "")
            )
            raise DataError(
                f"the cut {told(cut, zone)}{embargo} lies before the first data ({first_on}): choose a later"
                f" cut{less}"
            )


def check_horizon(dataset: Dataset, cuts: Iterable[datetime], horizon_days: int) -> None:
    """Refuse a horizon that ends after the data: what was not yet recorded would count as not wanted.

    Raises:
        DataError: A horizon ends after the last day with recorded holdings; the text names that day.
    """
    end = end_of_data(dataset)
    for cut in cuts:
        if cut > end - timedelta(days=horizon_days):
            last_on = end.date() - timedelta(days=1)
            raise DataError(
                f"{horizon_days} days from the cut {cut.astimezone(end.tzinfo).date()} reach beyond the data,"
                f" whose last day is {last_on}: choose an earlier cut or a shorter horizon"
            )


def end_of_data(dataset: Dataset) -> datetime:
    """The midnight, in the dataset's zone, after the last day with recorded holdings.

    Raises:
        DataError: There are no holdings.
    """
    last_recorded_at = dataset.table("holdings")["recorded_at"].max()
    if not isinstance(last_recorded_at, datetime):
        raise DataError(f"dataset {dataset.meta.name!r} has no holdings, so there is nothing to evaluate on")
    zone = ZoneInfo(dataset.meta.time_zone)
    last_on = last_recorded_at.astimezone(zone).date()
    return datetime.combine(last_on + timedelta(days=1), time.min, tzinfo=zone)


def check_no_leak(dataset: Dataset, client_ids: Sequence[str], training: TrainingSet) -> None:
    """Refuse a training set that holds anything recorded after its own as_of.

    Every (client, offer) that the training set holds, counts as demand or has in its history must stand in a
    row of ``holdings`` that was recorded by then, and every offer in such a row of ``offers``.

    Args:
        dataset: The whole data.
        client_ids: Ids of the training set's clients, in its order.
        training: What models are going to be fitted on.

    Raises:
        LeakageError: Something was recorded later; the text names one example.
    """
    cut = told(training.as_of, dataset.meta.time_zone)
    is_known = pl.col("recorded_at") <= training.as_of
    known_offers = dataset.table("offers").filter(is_known)["offer_id"]
    late_offers = set(training.offers.offer_ids).difference(known_offers)
    if late_offers:
        raise _leak(f"offer {min(late_offers)!r}", cut)
    known = dataset.table("holdings").filter(is_known).select("client_id", "offer_id")
    demand = training.demand.tocoo()
    held_rows = np.repeat(np.arange(len(training.clients)), np.diff(training.clients.indptr))
    rows = np.concatenate([held_rows, demand.row, training.history.rows])
    columns = np.concatenate([training.clients.columns, demand.col, training.history.columns])
    used = pl.DataFrame(
        [
            pl.Series("client_id", client_ids, dtype=pl.String).gather(rows),
            pl.Series("offer_id", training.offers.offer_ids, dtype=pl.String).gather(columns),
        ]
    )
    late = used.join(known, on=["client_id", "offer_id"], how="anti")
    if len(late):
        client_id, offer_id = late.sort("client_id", "offer_id").row(0)
        raise _leak(f"the holding of offer {offer_id!r} by client {client_id!r}", cut)


def _leak(what: str, cut: str) -> LeakageError:
    return LeakageError(
        f"{what} was recorded after the cut {cut} but stands in the training set: the result"
        " would look too good"
    )


def take_cut(dataset: Dataset, as_of: datetime, horizon_days: int, embargo_days: int = 0) -> CutTruth:
    """Everything that one cut needs.

    Relevant are offers known to the models that a client first connected in (cut, cut + horizon] and never
    had or was seen with before; see `recsys.data.splits.first_adoptions`.

    Args:
        dataset: Validated tables.
        as_of: The cut.
        horizon_days: Days after the cut that count as truth, ≥1.
        embargo_days: Days before the cut of which models know nothing, ≥0: as old as a bundle gets in use.

    Raises:
        LeakageError: The training set holds something recorded after the embargo began.
    """
    known = take_training(dataset, as_of - timedelta(days=embargo_days))
    present = take_snapshot(dataset, as_of) if embargo_days else known.snapshot
    offers = known.training.offers
    adoptions = first_adoptions(dataset, as_of, horizon_days)
    states = [state for state in present.states if state.client_id in adoptions]
    client_ids = tuple([str(state.client_id) for state in states])
    returnable = _returnable(states, present.holdings_kind)
    again = _connected_again(dataset, as_of, horizon_days)
    return CutTruth(
        as_of=as_of,
        known=known,
        clients=ClientBatch.from_states(states, offers, as_of, known.training.clients.features),
        client_ids=client_ids,
        units=tuple([_unit(state) for state in states]),
        segments=segments_of(states, as_of.astimezone(ZoneInfo(dataset.meta.time_zone)).date()),
        seen=_pattern([offers.known_columns(_ever_seen(state)) for state in states], offers),
        relevant=of_clients(client_ids, adoptions, offers),
        returnable=of_clients(client_ids, returnable, offers),
        again=of_clients(
            client_ids, {one: returnable[one] & again.get(one, frozenset()) for one in returnable}, offers
        ),
    )


def check_adopters(truth: CutTruth, horizon_days: int) -> None:
    """Refuse a cut on which nobody can be judged.

    Raises:
        DataError: No client connected anything new within the horizon.
    """
    if not len(truth.adopters):
        raise DataError(
            f"no client connected anything new in the {horizon_days} days after {truth.told()}:"
            " choose another cut or a longer horizon"
        )


def take_training(dataset: Dataset, as_of: datetime) -> KnownWorld:
    """What was known at a cut, and what models may learn from it.

    Raises:
        LeakageError: The training set holds something recorded after the cut.
    """
    snapshot = take_snapshot(dataset, as_of)
    training = TrainingSet.from_snapshot(
        snapshot, dataset.documents.get("expert.yaml"), dataset.table("offers")["offer_id"]
    )
    check_no_leak(dataset, [state.client_id for state in snapshot.states], training)
    return KnownWorld(snapshot, training, known_at(dataset, as_of))


def known_at(dataset: Dataset, as_of: datetime) -> Dataset:
    """The dataset as it was known at as_of: rows recorded later are left out."""
    return replace(
        dataset,
        tables={
            name: frame.filter(pl.col(column) <= as_of.astimezone(UTC))
            if (column := _KNOWN_COLUMN.get(name, "recorded_at")) in frame.columns
            else frame
            for name, frame in dataset.tables.items()
        },
    )


def _returnable(states: Sequence[ClientState], kind: HoldingsKind) -> dict[str, frozenset[str]]:
    """What each client could connect again."""
    if kind is HoldingsKind.PURCHASES:
        return {state.client_id: frozenset(_ever_seen(state)) for state in states}
    return {state.client_id: frozenset(state.past_offer_ids) for state in states}


def _connected_again(dataset: Dataset, cut: datetime, horizon_days: int) -> dict[str, frozenset[str]]:
    """What each client connected within the horizon and still has at its end, new or not."""
    connected = (
        holding_rows(dataset, cut + timedelta(days=horizon_days))
        .filter(pl.col("connected_at") > cut, pl.col("is_held"))
        .join(holding_rows(dataset, cut), on="holding_id", how="anti")
        .group_by("client_id")
        .agg("offer_id")
    )
    return {client_id: frozenset(offer_ids) for client_id, offer_ids in connected.iter_rows()}


def of_clients(
    client_ids: Sequence[str], offer_ids: Mapping[str, Set[str]], offers: OfferIndex
) -> sparse.csr_array:
    """The offers of each client as a binary matrix, clients_by_offers; unknown offers are left out."""
    found = [offers.known_columns(sorted(offer_ids.get(client_id, ()))) for client_id in client_ids]
    return _pattern(found, offers)


def latest_units(cuts: Iterable[tuple[Iterable[str], Iterable[str]]]) -> dict[str, str]:
    """One unit for each client over all cuts: the last, should it have changed its account group.

    Args:
        cuts: Client ids and their units at each cut, in the order of the cuts.

    Example:
        >>> latest_units([(["a", "b"], ["client a", "group 1"]), (["a"], ["group 1"])])
        {'a': 'group 1', 'b': 'group 1'}
    """
    return {
        client_id: unit
        for client_ids, units in cuts
        for client_id, unit in zip(client_ids, units, strict=True)
    }


def _pattern(columns: Sequence[Sequence[int]], offers: OfferIndex) -> sparse.csr_array:
    """Lists of columns as a binary matrix."""
    sorted_columns = [sorted(set(found)) for found in columns]
    indptr = np.concatenate([[0], np.cumsum([len(found) for found in sorted_columns], dtype=np.int64)])
    indices = np.array([column for found in sorted_columns for column in found], dtype=np.int64)
    return sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=(len(columns), len(offers)))


def _ever_seen(state: ClientState) -> list[str]:
    return [*(holding.offer_id for holding in state.holdings), *state.past_offer_ids]


def _unit(state: ClientState) -> str:
    group = None if state.profile is None else state.profile.account_group_id
    return f"client {state.client_id}" if group is None else f"group {group}"
