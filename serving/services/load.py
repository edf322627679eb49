"""Use case: a dataset folder into the store, beside a serving server.

Only the command line imports this module: reading tables needs Polars, a server does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from recsys.data.dataset import Dataset
from recsys.data.documents import POLICY_DOCUMENTS
from recsys.data.offers import offers_from_rows
from recsys.data.read import read_dataset
from recsys.data.write import to_toml
from recsys.errors import DataError
from recsys.tables import EVENTS, TABLES, table_named
from serving.orders import PolicyVersion
from serving.ports import Row, Store
from serving.services.policies import dropped_placements, sound_policy

META = "dataset.toml"
_LOG_TABLES = ("decisions", "decision_items", "events", "experiments", "assignments", "shadow_decisions")
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
        policy_version: Version of the policy that came with the data; None = the one in force stays.
        is_new_policy: Whether it was published now; False = it was once before, and what is in force stays.
        time_zone: The zone of the data.
        warnings: What should be looked at in a policy that was published now, one line for each.
    """

    n_rows: Mapping[str, int]
    n_changed_states: int
    policy_version: str | None
    is_new_policy: bool
    time_zone: str
    warnings: tuple[str, ...] = ()


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
        ConfigError: ``dataset.toml`` or a document of the policy is wrong; nothing was loaded.
        DataError: A table is missing, or shrank too much; nothing was loaded.
    """
    dataset = read_dataset(folder)
    policy, warnings = _policy(store, dataset, folder, loaded_at)
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
    others = {name: text for name, text in dataset.documents.items() if name not in POLICY_DOCUMENTS}
    store.put_documents({META: to_toml(dataset.meta), **others})
    # A feed that brings the same documents every night must not undo what was published in between.
    is_new = policy is not None and policy.version not in {each.version for each in store.policies()}
    if policy is not None and is_new:
        store.put_policy(policy)
    version = None if policy is None else policy.version
    zone, told = dataset.meta.time_zone, warnings if is_new else ()
    return LoadSummary(n_rows, n_changed_states, version, is_new, zone, told)


def _policy(
    store: Store, dataset: Dataset, folder: Path, loaded_at: datetime
) -> tuple[PolicyVersion | None, tuple[str, ...]]:
    """The policy that comes with the data, in force from the load on, and its warnings; None without one."""
    documents = {name: text for name, text in dataset.documents.items() if name in POLICY_DOCUMENTS}
    if not documents:
        return None, ()
    rows = dataset.table("offers").sort("recorded_at").unique("offer_id", keep="last")
    offers = {offer.offer_id: offer for offer in store.catalogue(loaded_at).offers}
    offers |= {offer.offer_id: offer for offer in offers_from_rows(rows.iter_rows(named=True), (), ())}
    policy, warnings = sound_policy(documents, offers.values(), str(folder), loaded_at)
    note = f"loaded from {folder.name}"
    version = PolicyVersion(policy.version, documents, loaded_at, loaded_at, "command line", note)
    return version, (*dropped_placements(store, policy, loaded_at), *warnings)


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
