"""The truth at a cut: what was known then, whom to judge on, and what they connected afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from scipy import sparse

from recsys.data.dataset import Dataset
from recsys.data.snapshot import Snapshot, parse_as_of, take_snapshot
from recsys.data.splits import first_adoptions
from recsys.domain import ClientState
from recsys.errors import ConfigError, DataError, LeakageError
from recsys.models.base import ClientBatch, IntArray, OfferIndex, TrainingSet


@dataclass(frozen=True, slots=True)
class CutTruth:
    """One cut in time: what models may learn from, and what they are judged on.

    Attributes:
        as_of: The cut.
        training: The world as it was known at the cut.
        clients: The clients judged: those with at least one relevant offer.
        client_ids: Their ids, in the order of `clients`.
        units: What is resampled in each client's place: its account group, else the client itself.
        seen: What each of them ever held or was seen with up to the cut, clients_by_offers.
        relevant: What each of them first connected within the horizon, clients_by_offers.
    """

    as_of: datetime
    training: TrainingSet
    clients: ClientBatch
    client_ids: tuple[str, ...]
    units: tuple[str, ...]
    seen: sparse.csr_array
    relevant: sparse.csr_array


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


def check_horizon(dataset: Dataset, cuts: Iterable[datetime], horizon_days: int) -> None:
    """Refuse a horizon that ends after the data: what was not yet recorded would count as not wanted.

    Raises:
        DataError: A horizon ends after the last day with recorded holdings; the text names that day.
    """
    last_recorded_at = dataset.table("holdings")["recorded_at"].max()
    if not isinstance(last_recorded_at, datetime):
        raise DataError(f"dataset {dataset.meta.name!r} has no holdings, so there is nothing to evaluate on")
    zone = ZoneInfo(dataset.meta.time_zone)
    last_on = last_recorded_at.astimezone(zone).date()
    end_of_data = datetime.combine(last_on + timedelta(days=1), time.min, tzinfo=zone)
    for cut in cuts:
        if cut + timedelta(days=horizon_days) > end_of_data:
            raise DataError(
                f"{horizon_days} days from the cut {cut.astimezone(zone).date()} reach beyond the data, whose"
                f" last day is {last_on}: choose an earlier cut or a shorter horizon"
            )


def check_no_leak(dataset: Dataset, client_ids: Sequence[str], training: TrainingSet) -> None:
    """Refuse a training set that holds anything recorded after its own as_of.

    Every (client, offer) that the training set holds or counts as demand must stand in a row of
    ``holdings`` that was recorded by then, and every offer in such a row of ``offers``.

    Args:
        dataset: The whole data.
        client_ids: Ids of the training set's clients, in its order.
        training: What models are going to be fitted on.

    Raises:
        LeakageError: Something was recorded later; the text names one example.
    """
    is_known = pl.col("recorded_at") <= training.as_of
    known_offers = dataset.table("offers").filter(is_known)["offer_id"]
    late_offers = set(training.offers.offer_ids).difference(known_offers)
    if late_offers:
        raise _leak(f"offer {min(late_offers)!r}", training.as_of)
    known = dataset.table("holdings").filter(is_known).select("client_id", "offer_id")
    demand = training.demand.tocoo()
    held_rows = np.repeat(np.arange(len(training.clients)), np.diff(training.clients.indptr))
    rows = np.concatenate([held_rows, demand.row])
    columns = np.concatenate([training.clients.columns, demand.col])
    used = pl.DataFrame(
        [
            pl.Series("client_id", client_ids, dtype=pl.String).gather(rows),
            pl.Series("offer_id", training.offers.offer_ids, dtype=pl.String).gather(columns),
        ]
    )
    late = used.join(known, on=["client_id", "offer_id"], how="anti")
    if len(late):
        client_id, offer_id = late.sort("client_id", "offer_id").row(0)
        raise _leak(f"the holding of offer {offer_id!r} by client {client_id!r}", training.as_of)


def _leak(what: str, as_of: datetime) -> LeakageError:
    return LeakageError(
        f"{what} was recorded after the cut {as_of.isoformat()} but stands in the training set: the result"
        " would look too good"
    )


def take_cut(dataset: Dataset, as_of: datetime, horizon_days: int) -> CutTruth:
    """Everything that one cut needs.

    Relevant are offers known at the cut that a client first connected in (cut, cut + horizon] and never had
    or was seen with before; see `recsys.data.splits.first_adoptions`.

    Raises:
        LeakageError: The training set holds something recorded after the cut.
        DataError: No client connected anything new within the horizon.
    """
    snapshot, training = take_training(dataset, as_of)
    rows, relevant = _relevant(snapshot, training.offers, first_adoptions(dataset, as_of, horizon_days))
    if len(rows) == 0:
        raise DataError(
            f"no client connected anything new in the {horizon_days} days after {as_of.isoformat()}:"
            " choose another cut or a longer horizon"
        )
    states = [snapshot.states[row] for row in rows]
    return CutTruth(
        as_of=as_of,
        training=training,
        clients=training.clients.take(rows),
        client_ids=tuple(state.client_id for state in states),
        units=tuple(_unit(state) for state in states),
        seen=_pattern(
            [training.offers.known_columns(_ever_seen(state)) for state in states], training.offers
        ),
        relevant=relevant,
    )


def take_training(dataset: Dataset, as_of: datetime) -> tuple[Snapshot, TrainingSet]:
    """What was known at a cut, and what models may learn from it.

    Raises:
        LeakageError: The training set holds something recorded after the cut.
    """
    snapshot = take_snapshot(dataset, as_of)
    training = TrainingSet.from_snapshot(
        snapshot, dataset.documents.get("expert.yaml"), dataset.table("offers")["offer_id"]
    )
    check_no_leak(dataset, [state.client_id for state in snapshot.states], training)
    return snapshot, training


def _relevant(
    snapshot: Snapshot, offers: OfferIndex, adoptions: Mapping[str, Set[str]]
) -> tuple[IntArray, sparse.csr_array]:
    """Rows of the clients with at least one relevant offer known at the cut, and those offers."""
    columns = [offers.known_columns(sorted(adoptions.get(state.client_id, ()))) for state in snapshot.states]
    rows = [row for row, found in enumerate(columns) if found]
    return np.array(rows, dtype=np.int64), _pattern([columns[row] for row in rows], offers)


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
