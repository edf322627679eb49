"""A dataset in memory: validated tables and what the dataset says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from zoneinfo import available_timezones

import polars as pl
from pydantic import field_validator

from recsys.config import RunConfig
from recsys.domain import HoldingsKind
from recsys.errors import DataError


class DatasetMeta(RunConfig):
    """What a dataset says of itself, in ``dataset.toml``.

    Attributes:
        name: Short name.
        title: One line for people.
        currency: ISO code of every amount; XXX = amounts are absent.
        time_zone: Days, months and as_of are midnights of this zone.
        holdings: What a row of ``holdings`` means.
    """

    name: str = "unnamed"
    title: str = ""
    currency: str = "XXX"
    time_zone: str = "UTC"
    holdings: HoldingsKind = HoldingsKind.SUBSCRIPTIONS

    @field_validator("time_zone")
    @classmethod
    def _is_time_zone(cls, name: str) -> str:
        if name not in _time_zones():
            raise ValueError("no such time zone; write a name like Europe/Moscow or UTC")
        return name


@cache
def _time_zones() -> set[str]:
    """The names the system knows: looking them up opens some 600 files."""
    return available_timezones()


@dataclass(frozen=True, slots=True)
class Dataset:
    """Validated tables.

    Attributes:
        meta: What the dataset says of itself.
        tables: Frames by table name; required tables are always there, every column of the contract
            is present and typed, missing optional ones as nulls. Optional tables may be absent.
        documents: Further files of the folder by name (``expert.yaml`` and the policy's), as text.
        digest: SHA-256 over the content of all tables, as 64 hexadecimal digits.
    """

    meta: DatasetMeta
    tables: Mapping[str, pl.DataFrame]
    documents: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""

    def table(self, name: str) -> pl.DataFrame:
        """The table of that name.

        Raises:
            DataError: The dataset has no such table.
        """
        try:
            return self.tables[name]
        except KeyError:
            raise DataError(f"dataset {self.meta.name!r} has no table {name!r}") from None


def read_meta(folder: Path) -> DatasetMeta:
    """``dataset.toml`` of a folder; without one, the defaults under the folder's name.

    Raises:
        ConfigError: The file is there and wrong.
    """
    path = folder / "dataset.toml"
    if not path.exists():
        return DatasetMeta(name=folder.name)
    return DatasetMeta.load(path)
