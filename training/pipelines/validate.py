"""Everything that is wrong with a dataset, in one report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import orjson

from recsys.data.read import examine
from recsys.errors import DataError, Fault
from training.prepare.sources import open_source


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What is in a dataset, and what is wrong with it.

    Attributes:
        place: The folder or the database.
        n_rows: Rows by table.
        n_faults_by_table: Faults by table.
        faults: The first faults of each table, at most 20.
        problems: What makes the whole unusable, one sentence each.
    """

    place: str
    n_rows: Mapping[str, int]
    n_faults_by_table: Mapping[str, int]
    faults: tuple[Fault, ...]
    problems: tuple[str, ...]

    @property
    def n_faults(self) -> int:
        """Everything that is wrong, counted; 0 = the data are sound."""
        return sum(self.n_faults_by_table.values()) + len(self.problems)

    def to_json(self) -> str:
        """The report as one JSON object."""
        return orjson.dumps({**asdict(self), "n_faults": self.n_faults}).decode()

    def __str__(self) -> str:
        lines = [*self.problems]
        for table, n_rows in self.n_rows.items():
            n_faults = self.n_faults_by_table[table]
            lines.append(f"{table}: {n_rows} rows, {n_faults or 'no'} fault{'' if n_faults == 1 else 's'}")
            shown = [fault for fault in self.faults if fault.table == table]
            lines += [f"  {fault}" for fault in shown]
            if n_faults > len(shown):
                lines.append(f"  … and {n_faults - len(shown)} more")
        verdict = f"{self.n_faults} fault{'' if self.n_faults == 1 else 's'}" if self.n_faults else "sound"
        return "\n".join([*lines, f"{self.place}: {verdict}"])


def validate(data: str) -> ValidationReport:
    """Check a dataset without using it.

    Args:
        data: A folder or a database URL.

    Raises:
        ConfigError: ``dataset.toml`` is wrong.
        StoreUnavailableError: The database does not answer.
    """
    try:
        source = open_source(data)
    except DataError as error:
        return ValidationReport(data.rpartition("@")[2], {}, {}, (), tuple(str(error).splitlines()))
    examination = examine(source)
    return ValidationReport(
        place=source.place,
        n_rows={
            checked.table.name: len(checked.frame) + len(checked.raw.broken) for checked in examination.tables
        },
        n_faults_by_table={checked.table.name: checked.n_faults for checked in examination.tables},
        faults=tuple(fault for checked in examination.tables for fault in checked.shown_faults()),
        problems=examination.problems,
    )
