"""Simulate the made-up operator and write its tables as a dataset."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from recsys.data.dataset import Dataset, DatasetMeta, read_meta
from recsys.data.read import DOCUMENTS
from recsys.data.write import write_dataset
from recsys.domain import HoldingsKind
from recsys.errors import ConfigError, DataError
from recsys.simulation.card import Card, make_card
from recsys.simulation.catalogue import read_catalogue
from recsys.simulation.grain import Tables
from recsys.simulation.record import record_world
from recsys.simulation.world import World, check_world
from training.pipelines.worlds.card import render_card
from training.runs import progress


@dataclass(frozen=True, slots=True)
class SimulationSummary:
    """What a simulation produced.

    Attributes:
        out: The folder of the dataset.
        n_clients: Clients.
        n_offers: Offers of the catalogue.
        n_holdings: Connections, those that ended included.
        n_decisions: Lists shown.
        n_events: Events.
        share_adding_a_month: Share of client-months in which a service was added, 0–1.
        acceptance_per_impression: Share of impressions that led to an activation within 30 days, 0–1.
        seconds: How long it took.
        figures: The world's card.
    """

    out: Path
    n_clients: int
    n_offers: int
    n_holdings: int
    n_decisions: int
    n_events: int
    share_adding_a_month: float
    acceptance_per_impression: float
    seconds: float
    figures: Card

    def card(self) -> str:
        """The world's card for a person."""
        heading = f"{self.out}: a made-up operator, illustrative; {self.seconds:.1f} seconds"
        return f"{heading}\n{render_card(self.figures)}"

    def to_json(self) -> str:
        """The same as one JSON object; a figure that cannot be known is null."""
        return orjson.dumps(asdict(self), default=str).decode()


def simulate(
    catalogue: Path,
    world: Path,
    out: Path,
    *,
    n_clients: int | None = None,
    n_months: int | None = None,
    seed: int | None = None,
) -> SimulationSummary:
    """Simulate a world and write its tables; the same arguments give the same bytes.

    Args:
        catalogue: Folder with ``catalogue.yaml`` and, optionally, ``expert.yaml`` and ``placements.yaml``,
            which are copied into the dataset.
        world: The world's parameters, a TOML file.
        out: Folder to write; an earlier dataset of the same world is replaced.
        n_clients: Number of clients, instead of the world's.
        n_months: Number of months, instead of the world's.
        seed: Root seed, instead of the world's.

    Raises:
        ConfigError: The catalogue or the world is wrong, or they do not fit.
        DataError: `out` holds something else, or cannot be written.
    """
    started_at = time.monotonic()
    parameters = _read_world(world, {"n_clients": n_clients, "n_months": n_months, "seed": seed})
    meta = _meta_of(parameters, str(world))
    _refuse_foreign(out, meta)
    offers = read_catalogue(catalogue)
    check_world(parameters, offers, str(world))
    documents = read_documents(catalogue if catalogue.is_dir() else catalogue.parent)
    with progress("simulating months", parameters.n_months) as advance:
        tables = record_world(parameters, offers, advance)
    write_dataset(Dataset(meta=meta, tables=tables, documents=documents), out)
    return _summarise(tables, parameters.time_zone, out, started_at)


def _read_world(path: Path, changes: Mapping[str, int | None]) -> World:
    world = World.load(path)
    given = {name: value for name, value in changes.items() if value is not None}
    return World.parse({**world.model_dump(), **given}, str(path)) if given else world


def _meta_of(world: World, place: str) -> DatasetMeta:
    values = {
        "name": world.name,
        "title": world.title,
        "currency": world.currency,
        "time_zone": world.time_zone,
        "holdings": HoldingsKind.SUBSCRIPTIONS,
    }
    return DatasetMeta.parse(values, place)


def _refuse_foreign(out: Path, meta: DatasetMeta) -> None:
    """Refuse before the work is done, not after it."""
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out}: is a file; give a new or empty folder")
    if not any(out.iterdir()):
        return
    try:
        earlier = read_meta(out)
    except ConfigError as error:
        raise DataError(f"{out}: holds something else ({error}); give a new or empty folder") from error
    if (earlier.name, earlier.title) != (meta.name, meta.title):
        raise DataError(f"{out}: holds no simulation of {meta.name!r}; give a new or empty folder")


def read_documents(folder: Path) -> dict[str, str]:
    """Texts of the documents beside a catalogue that go into its datasets, by file name.

    Raises:
        ConfigError: One of them cannot be read.
    """
    paths = [folder / name for name in DOCUMENTS]
    try:
        return {path.name: path.read_text(encoding="utf-8") for path in paths if path.exists()}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{folder}: a document cannot be read: {error}; save it as UTF-8") from error


def _summarise(tables: Tables, time_zone: str, out: Path, started_at: float) -> SimulationSummary:
    figures = make_card(tables, time_zone)
    return SimulationSummary(
        out=out,
        n_clients=figures.n_clients,
        n_offers=figures.n_offers,
        n_holdings=figures.n_holdings,
        n_decisions=figures.n_decisions,
        n_events=figures.n_events,
        share_adding_a_month=figures.adding,
        acceptance_per_impression=figures.acceptance or 0.0,
        seconds=time.monotonic() - started_at,
        figures=figures,
    )
