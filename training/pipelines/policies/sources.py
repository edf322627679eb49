"""What the commands on policies read: a policy's folder, a catalogue, and the clients of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from recsys.data.dataset import Dataset
from recsys.data.offers import offers_from_rows
from recsys.data.snapshot import Snapshot, take_snapshot
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.policy.check import check_policy
from recsys.decision.policy.read import PolicyFiles, read_documents, read_policy
from recsys.errors import ConfigError
from recsys.simulation.catalogue import catalogue_tables, read_catalogue
from training.pipelines.evaluation.cuts import parse_cut
from training.prepare.sources import open_dataset

_CATALOGUE = "catalogue.yaml"
_NO_CURRENCY = "XXX"
_TABLES = ("offers", "offer_relations", "offer_prices")


@dataclass(frozen=True, slots=True)
class Clients:
    """The clients of a dataset at one moment.

    Attributes:
        place: Where they come from.
        snapshot: What is known of them.
        catalogue: The offers known at that moment.
        zone: The dataset's time zone.
        currency: ISO code of its amounts; None where it has none.
    """

    place: str
    snapshot: Snapshot
    catalogue: CompiledCatalogue
    zone: ZoneInfo
    currency: str | None = None


def open_policy(folder: Path) -> PolicyFiles:
    """Read a policy's folder.

    Raises:
        ConfigError: Something is wrong; one line per fault.
    """
    return read_policy(read_documents(folder), str(folder))


def refuse_unsound(files: PolicyFiles, catalogue: CompiledCatalogue) -> None:
    """Refuse a policy with faults, as ``policy check`` does; warnings do not matter.

    Raises:
        ConfigError: There are faults; one line each.
    """
    found = check_policy(files.policy, catalogue, files.examples)
    faults = [files.line(fault) for fault in found if not fault.is_warning]
    if faults:
        raise ConfigError("\n".join(faults))


def catalogue_beside(folder: Path) -> CompiledCatalogue | None:
    """The catalogue in ``catalogue.yaml`` of a folder; None where there is none.

    Raises:
        ConfigError: Something in it is wrong.
    """
    if not (folder / _CATALOGUE).is_file():
        return None
    catalogue = read_catalogue(folder)
    # rows of a catalogue on paper were always known
    tables = catalogue_tables(catalogue, datetime.min.replace(tzinfo=ZoneInfo("UTC")))
    rows = [tables[name].iter_rows(named=True) for name in _TABLES]
    return CompiledCatalogue(offers_from_rows(*rows), catalogue.version)


def needed_catalogue(folder: Path, clients: Clients | None) -> CompiledCatalogue:
    """The catalogue of the data, else the one beside the policy.

    Raises:
        ConfigError: There is neither.
    """
    found = catalogue_beside(folder) if clients is None else clients.catalogue
    if found is None:
        raise ConfigError(
            f"{folder}: has no {_CATALOGUE}, which the rules name offers of; add it or give --data"
        )
    return found


def open_clients(data: str, as_of: str | None = None) -> Clients:
    """Read the clients of a dataset.

    Args:
        data: A folder, or a database URL.
        as_of: Day or instant; None = when the last row became known.

    Raises:
        ConfigError: as_of is neither.
        DataError: The data cannot be read or are broken, or nobody is a client then.
    """
    dataset = open_dataset(data)
    snapshot = take_snapshot(dataset, moment_asked(dataset, as_of), has_contacts=True)
    refuse_nobody(data, snapshot.as_of, len(snapshot.states), len(snapshot.offers))
    currency = None if dataset.meta.currency == _NO_CURRENCY else dataset.meta.currency
    zone = ZoneInfo(dataset.meta.time_zone)
    return Clients(data, snapshot, CompiledCatalogue(snapshot.offers), zone, currency)


def moment_asked(dataset: Dataset, as_of: str | None) -> datetime:
    """The moment of a day or an instant; of None when the last row became known.

    Raises:
        ConfigError: It is neither.
    """
    return _last_known(dataset) if as_of is None else parse_cut(as_of, dataset.meta.time_zone)


def refuse_nobody(data: str, moment: datetime, n_clients: int, n_offers: int) -> None:
    """Refuse a moment at which nobody is a client, or nothing is offered.

    Raises:
        ConfigError: It is such a moment.
    """
    if n_clients and n_offers:
        return
    missing = "offers" if n_clients else "clients"
    raise ConfigError(f"{data}: has no {missing} at {moment.isoformat()}; choose a later --as-of")


def _last_known(dataset: Dataset) -> datetime:
    """When the last row of any table became known."""
    latest = [
        frame["recorded_at"].max()
        for frame in dataset.tables.values()
        if "recorded_at" in frame.columns and len(frame)
    ]
    return max(moment for moment in latest if isinstance(moment, datetime))


def many(number: int, thing: str) -> str:
    """A number of things.

    Example:
        >>> many(1, "rule"), many(0, "fault")
        ('1 rule', 'no faults')
    """
    return f"{number or 'no'} {thing}{'' if number == 1 else 's'}"
