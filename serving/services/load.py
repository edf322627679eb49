"""Use case: a dataset folder into the store, beside a serving server.

Only the command line imports this module: reading tables needs Polars, a server does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from recsys.data.dataset import Dataset
from recsys.data.placements import placements_from_yaml
from recsys.data.read import read_dataset
from recsys.data.write import to_toml
from recsys.errors import DataError
from recsys.tables import EVENTS, TABLES, table_named
from serving.ports import Row, Store

PLACEMENTS = "placements.yaml"
META = "dataset.toml"
_LOG_TABLES = ("decisions", "decision_items", "events")
_FEEDS = ("clients", "offers", "holdings")
_WHOLE_TABLES = ("offer_relations", "offer_prices")
_LARGEST_LOSS = 0.2
_ROWS_AT_ONCE = 5_000

Progress = Callable[[str, int, int], None]
"""Called with a table's name, its rows written so far, and its rows in all."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a load may do.

    Attributes:
        is_log_loaded: Whether decisions and events of the folder are loaded too.
        is_shrinking_allowed: Whether a feed may have lost more than a fifth of what is stored.
    """

    is_log_loaded: bool = True
    is_shrinking_allowed: bool = False


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """What a load did.

    Attributes:
        n_rows: Rows written, by table.
        n_changed_states: Clients whose state differs from before.
        n_placements: Placements in force that came with the data; 0 = those stored before stay.
    """

    n_rows: Mapping[str, int]
    n_changed_states: int
    n_placements: int


def load(
    store: Store,
    folder: Path,
    loaded_at: datetime,
    options: LoadOptions = LoadOptions(),
    progress: Progress = lambda _table, _n_done, _n_rows: None,
) -> LoadSummary:
    """Validate a folder, upsert its tables one after the other, derive the client states anew.

    Everything is checked before the first row is written. Each chunk of rows is a transaction of its own,
    so that a server goes on serving; a load that was interrupted is completed by doing it again.

    Raises:
        SchemaError: Rows break a table's contract; nothing was loaded.
        ConfigError: ``dataset.toml`` or ``placements.yaml`` is wrong; nothing was loaded.
        DataError: A table is missing, or shrank too much; nothing was loaded.
    """
    dataset = read_dataset(folder)
    text = dataset.documents.get(PLACEMENTS)
    placements = () if text is None else placements_from_yaml(text, str(folder / PLACEMENTS))
    if not options.is_shrinking_allowed:
        _check_not_shrunk(store, dataset)
    for name in _WHOLE_TABLES:
        _forget_gone(store, dataset, name)
    names = [
        table.name
        for table in TABLES
        if table.name in dataset.tables and (options.is_log_loaded or table.name not in _LOG_TABLES)
    ]
    n_rows = {name: _write(store, dataset, name, loaded_at, progress) for name in names}
    n_changed_states = store.rebuild_states(as_of=loaded_at)
    store.put_documents({META: to_toml(dataset.meta), **dataset.documents})
    if placements:
        store.put_placements(placements, loaded_at)
    return LoadSummary(n_rows, n_changed_states, len(placements))


def _check_not_shrunk(store: Store, dataset: Dataset) -> None:
    for name in _FEEDS:
        key = table_named(name).key[0]
        n_stored, n_new = store.count_keys(name), dataset.table(name)[key].n_unique()
        if n_new < n_stored * (1 - _LARGEST_LOSS):
            raise DataError(
                f"table {name} has {n_new} different {key}, the store has {n_stored}: the feed shrank by more"
                " than a fifth, so nothing was loaded; complete it, or allow it with --allow-shrink"
            )


def _forget_gone(store: Store, dataset: Dataset, name: str) -> None:
    """Remove relations and prices that a feed no longer states for the offers it contains."""
    key = table_named(name).key

    def key_of(row: Row) -> tuple[object, ...]:
        return tuple(row[column] for column in key)

    fresh = (
        {key_of(row) for row in dataset.tables[name].iter_rows(named=True)}
        if name in dataset.tables
        else set()
    )
    offer_ids = set(dataset.table("offers")["offer_id"])
    gone = [row for row in store.read_rows(name) if row["offer_id"] in offer_ids and key_of(row) not in fresh]
    if gone:
        store.delete_rows(name, gone)


def _write(store: Store, dataset: Dataset, name: str, loaded_at: datetime, progress: Progress) -> int:
    frame = dataset.table(name)
    if name == EVENTS.name:
        # of events told twice the store keeps the one it is given first
        frame = frame.sort("recorded_at", maintain_order=True)
    n_done = 0
    progress(name, n_done, len(frame))
    for chunk in frame.iter_slices(_ROWS_AT_ONCE):
        n_done += store.upsert_rows(name, chunk.to_dicts(), loaded_at)
        progress(name, n_done, len(frame))
    return n_done
