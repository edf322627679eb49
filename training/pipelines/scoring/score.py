"""``recsys-train score``: what every client would be shown, as rows of the decision log.

``--out`` holds ``decisions.parquet`` and ``decision_items.parquet`` (the tables of the contract),
``readable/lists.parquet`` (one row per slot with title, price, priority and reasons in words),
``score.json`` and ``run.json``.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import orjson
import polars as pl
from rich.table import Table
from sqlalchemy.engine import make_url

from recsys.domain import Language
from recsys.errors import DataError
from training.pipelines.scoring.estimates import is_profiling_allowed
from training.pipelines.scoring.rows import LISTS, Rows, is_personalised
from training.pipelines.scoring.sources import (
    CLIENTS_PER_CHUNK,
    Sources,
    asks_of,
    decided_chunks,
    open_sources,
)
from training.runs import Run, check_folder, progress

_READABLE = "readable"
_NO_SEED = 0


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What a run came to.

    Attributes:
        as_of: The moment of every decision, in the dataset's time zone.
        time_zone: That time zone.
        policy: Version of the policy.
        bundle: Version of the models.
        target: What the probabilities are probabilities of.
        placements: Whose lists.
        language: Language of titles and reasons.
        n_clients: Clients decided for.
        n_lists: Lists made, empty ones included.
        n_empty: Lists in which nothing may be shown.
        empty: The same by placement.
        n_items: Offers shown.
        n_not_personalised: Clients whose own data ordered nothing.
        n_profiling_off: Those of them with profiling switched off.
    """

    as_of: str
    time_zone: str
    policy: str
    bundle: str
    target: str
    placements: tuple[str, ...]
    language: str
    n_clients: int
    n_lists: int
    n_empty: int
    empty: Mapping[str, int]
    n_items: int
    n_not_personalised: int
    n_profiling_off: int

    def to_json(self) -> str:
        """The summary as one JSON object."""
        return orjson.dumps(asdict(self)).decode()


def score(  # noqa: PLR0913 – the parameters of the command
    data: str,
    bundle: Path,
    policy: Path,
    out: Path,
    *,
    as_of: str | None = None,
    placements: Sequence[str] = (),
    k: int | None = None,
    language: Language = Language.RU,
    n_at_once: int = CLIENTS_PER_CHUNK,
) -> ScoreSummary:
    """Decide for every client of a dataset, and write the decisions down.

    A client gets what a server with the same rules and models would answer at that moment, draws included:
    their seed is made of client, placement and time window.

    Args:
        data: A folder, or a database URL.
        bundle: A bundle, or a folder of bundles, whose newest counts.
        policy: Folder of the policy.
        out: Folder to write into; results that stand there are replaced.
        as_of: Day or instant; None = when the last row became known, or the bundle's as_of if that is later.
        placements: Whose lists, decided together as in one request; none = the policy's first placement.
        k: Length of each list; None = the placement's.
        language: Language of titles and reasons.
        n_at_once: Clients decided for at once, ≥1; memory grows with it and changes nothing else.

    Raises:
        ConfigError: The policy, as_of, a placement or k is wrong.
        DataError: The data cannot be read or are broken, or the folder cannot be written.
        LeakageError: The bundle knows what was recorded after as_of.
        BundleError: The bundle cannot be read.
    """
    check_folder(out)
    sources = open_sources(data, bundle, policy, as_of)
    asks = asks_of(sources.engine, policy, placements, k)
    counts = dict.fromkeys(("n_lists", "n_items", "n_not_personalised", "n_profiling_off"), 0)
    empty = {ask.placement_id: 0 for ask in asks}
    with _Parts(out) as parts, progress("score", len(sources.client_ids)) as advance:
        for chunk in decided_chunks(sources, asks, language, n_at_once):
            rows = Rows(sources, language)
            for decided in chunk:
                rows.add(decided)
                counts["n_not_personalised"] += not is_personalised(decided)
                counts["n_profiling_off"] += not is_profiling_allowed(decided.situation.state)
                for slate in decided.decision.slates:
                    empty[slate.placement_id] += not slate.slots
            counts["n_lists"] += len(rows.decisions)
            counts["n_items"] += len(rows.items)
            parts.write(rows.frames())
            advance(len(chunk))
    summary = ScoreSummary(
        as_of=sources.local_as_of.isoformat(timespec="seconds"),
        time_zone=str(sources.engine.zone),
        policy=sources.engine.policy.version,
        bundle=sources.bundle.version,
        target=sources.estimates.recommender.target.value,
        placements=tuple(ask.placement_id for ask in asks),
        language=language.value,
        n_clients=len(sources.client_ids),
        n_empty=sum(empty.values()),
        empty=empty,
        **counts,
    )
    (out / "score.json").write_text(summary.to_json() + "\n", encoding="utf-8")
    asked = {
        "--data": data,
        "--bundle": bundle,
        "--policy": policy,
        "--out": out,
        "--placement": ",".join(ask.placement_id for ask in asks),
        "--k": k,
        "--language": language.value,
    }
    write_run(sources, out, asked)
    return summary


def write_run(sources: Sources, out: Path, asked: Mapping[str, object]) -> None:
    """Write ``run.json``: what was decided with; the draws have seeds of their own.

    Args:
        sources: What was decided with.
        out: Folder to write into.
        asked: Option → its value, True for one that takes none; None = not given.
    """
    words = ["recsys-train", "score"]
    for option, value in {**asked, "--as-of": sources.local_as_of.isoformat()}.items():
        if value is not None:
            words += [option] if value is True else [option, _without_password(str(value))]
    command = shlex.join(words)
    Run(command, _NO_SEED, sources.engine.policy.version, sources.dataset.digest).write(out)


def _without_password(text: str) -> str:
    return make_url(text).render_as_string(hide_password=True) if "://" in text else text


def moment_text(as_of: str, time_zone: str) -> str:
    """A moment for people.

    Example:
        >>> moment_text("2026-11-01T09:30:00+03:00", "Europe/Moscow")
        '2026-11-01 09:30 (Europe/Moscow)'
    """
    return f"{datetime.fromisoformat(as_of):%Y-%m-%d %H:%M} ({time_zone})"


def render_score(summary: ScoreSummary, out: Path) -> Table:
    """The summary for a terminal."""
    title = f"{moment_text(summary.as_of, summary.time_zone)}, {', '.join(summary.placements)}"
    table = Table(title=title, box=None, show_header=False)
    table.add_column("")
    table.add_column("", justify="right", overflow="fold")
    table.add_row("to read", str(out / _READABLE / f"{LISTS}.parquet"))
    table.add_row("decisions", str(out / "decisions.parquet"))
    for words, count in (
        ("clients", summary.n_clients),
        ("lists", summary.n_lists),
        *((f"of these, empty on {name}", count) for name, count in summary.empty.items()),
        ("offers shown", summary.n_items),
        ("clients with profiling switched off", summary.n_profiling_off),
        (
            "other clients whose own data ordered nothing",
            summary.n_not_personalised - summary.n_profiling_off,
        ),
    ):
        table.add_row(words, f"{count:,}")
    return table


class _Parts:
    """Tables that grow by parts on the disk and become one file each at the end, or nothing."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._n_parts = 0

    def __enter__(self) -> _Parts:
        try:
            self._out.mkdir(parents=True, exist_ok=True)
            self._work = Path(tempfile.mkdtemp(prefix=".parts-", dir=self._out))
        except OSError as error:
            raise DataError(f"{self._out}: cannot be written: {error.strerror or error}") from error
        return self

    def write(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Write the next part of each table."""
        for name, frame in frames.items():
            folder = self._work / name
            folder.mkdir(exist_ok=True)
            frame.write_parquet(folder / f"{self._n_parts:06}.parquet", compression="zstd")
        self._n_parts += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._join()
        except OSError as error:
            raise DataError(f"{self._out}: cannot be written: {error.strerror or error}") from error
        finally:
            shutil.rmtree(self._work, ignore_errors=True)

    def _join(self) -> None:
        (self._out / _READABLE).mkdir(exist_ok=True)
        for folder in sorted(self._work.iterdir()):
            whole = self._work / f"{folder.name}.parquet"
            pl.scan_parquet(sorted(folder.iterdir())).sink_parquet(whole, compression="zstd")
            place = self._out / _READABLE if folder.name == LISTS else self._out
            whole.replace(place / whole.name)
