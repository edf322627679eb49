"""Is everything that a server needs there, and does it fit together? Asked before one is started."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from recsys.bundle import Bundle, load_bundle, newest_bundle
from recsys.errors import BundleError, BundleNotFoundError, RecsysError, StoreUnavailableError
from serving.ports import Role, Store
from serving.services.bundle_registry import read_registry
from serving.services.bundle_source import load_published
from serving.services.policies import readable_policy
from serving.settings import Settings

_BYTES_NEEDED: Final = 100 * 1024**2
_BYTES_WANTED: Final = 2 * 1024**3
_MOST_SKEW: Final = timedelta(minutes=5)
_EARLIEST: Final = datetime(2025, 1, 1, tzinfo=UTC)
_OLD_DATA: Final = timedelta(days=45)
_PREFIX: Final = "RECSYS_"


class Outcome(StrEnum):
    """What came of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """A check.

    Attributes:
        name: What was looked at.
        outcome: What came of it: warn = it runs, but look at it; fail = do not start it so.
        text: What was found.
        cure: What to do; "" where all is well.
    """

    name: str
    outcome: Outcome
    text: str
    cure: str = ""


def check_settings(
    settings: Settings, environment: Mapping[str, str], console_fault: str
) -> Iterator[Finding]:
    """Settings that nobody reads, folders, the number of workers, the console."""
    known = {f"{_PREFIX}{name.upper()}" for name in type(settings).model_fields}
    unknown = sorted(name for name in environment if name.startswith(_PREFIX) and name not in known)
    for name in unknown:
        near = difflib.get_close_matches(name, known, 1)
        cure = f"did you mean {near[0]}?" if near else "remove it; docs/reference/serving.md lists all"
        yield Finding("settings", Outcome.WARN, f"{name} is no setting, nobody reads it", cure)
    if not unknown:
        yield Finding(
            "settings", Outcome.OK, f"{settings.workers} worker(s) at {settings.host}:{settings.port}"
        )
    n_processors = os.cpu_count() or 1
    if settings.workers > 2 * n_processors:
        text = f"{settings.workers} workers share {n_processors} processor(s)"
        yield Finding("workers", Outcome.WARN, text, "set RECSYS_WORKERS to the number of processors")
    yield from _check_console(settings, console_fault)


def _check_console(settings: Settings, fault: str) -> Iterator[Finding]:
    if not settings.is_console_enabled:
        return
    is_https = (settings.public_url or "").startswith("https://")
    if fault:
        cure = "correct the settings of single sign-on: docs/how-to/security.md"
        yield Finding("console", Outcome.FAIL, fault, cure)
    if not settings.is_console_cookie_secure:
        yield Finding(
            "console",
            Outcome.WARN,
            "cookies of the console go over plain http too",
            "leave RECSYS_IS_CONSOLE_COOKIE_SECURE at true outside of development",
        )
    elif not is_https:
        yield Finding(
            "console",
            Outcome.WARN,
            "cookies of the console need https, and RECSYS_PUBLIC_URL names no https address",
            "put the server behind TLS and name its address in RECSYS_PUBLIC_URL",
        )
    elif not fault:
        yield Finding("console", Outcome.OK, "served under /console/")


def check_folders(settings: Settings, database_file: Path | None) -> Iterator[Finding]:
    """Whether what must be written can be, and for how long yet.

    Args:
        settings: The settings.
        database_file: Of an embedded database; None = the database is elsewhere.
    """
    wanted = {"journal": settings.journal_dir, "metrics": settings.metrics_dir}
    for name, folder in wanted.items():
        if folder is not None:
            yield _check_writable(name, folder, f"RECSYS_{name.upper()}_DIR")
    places = {"journal": settings.journal_dir}
    if database_file is not None:
        places["database"] = database_file.parent
    for name, folder in places.items():
        yield _check_space(name, folder)


def _check_writable(name: str, folder: Path, setting: str) -> Finding:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        text = f"the folder {folder} cannot be written: {error.strerror}"
        cure = f"let the service's user write it, or name another with {setting}"
        return Finding(name, Outcome.FAIL, text, cure)
    return Finding(name, Outcome.OK, f"{folder} can be written")


def _check_space(name: str, folder: Path) -> Finding:
    place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    n_free = shutil.disk_usage(place).free
    text = f"{n_free / 1024**3:.1f} GiB free under {place}"
    cure = "free some, or move it: docs/how-to/operate.md says what a million decisions take"
    if n_free < _BYTES_NEEDED:
        return Finding(f"{name} disk", Outcome.FAIL, text, cure)
    if n_free < _BYTES_WANTED:
        return Finding(f"{name} disk", Outcome.WARN, text, cure)
    return Finding(f"{name} disk", Outcome.OK, text)


def check_bundles(store: Store | None, folder: Path | None, now: datetime) -> Finding:
    """Whether there are models that load.

    Args:
        store: Says which are live; None = it cannot be asked.
        folder: Of the bundles; None = none is set.
        now: The present instant.
    """
    if folder is None:
        text = "no folder of bundles is set: popularity orders the lists"
        return Finding("bundle", Outcome.WARN, text, "name it with RECSYS_BUNDLES_DIR")
    try:
        bundle = _served(store, folder)
    except BundleNotFoundError as error:
        return Finding(
            "bundle", Outcome.WARN if folder.is_dir() else Outcome.FAIL, str(error), "recsys-train fit --out"
        )
    except BundleError as error:
        cure = "publish one that this program reads, or roll back: recsys-serve bundle rollback"
        # A server starts without models, and labels its answers.
        return Finding("bundle", Outcome.WARN, f"{error}; popularity orders the lists", cure)
    age = now - bundle.manifest.as_of
    text = f"{bundle.version} loads; it knows the world until {bundle.manifest.as_of:%Y-%m-%d}"
    if age > _OLD_DATA:
        return Finding("bundle", Outcome.WARN, f"{text}, {age.days} days ago", "fit again on newer data")
    return Finding("bundle", Outcome.OK, text)


def _served(store: Store | None, folder: Path) -> Bundle:
    live = None if store is None else read_registry(store).live
    return load_bundle(newest_bundle(folder)) if live is None else load_published(folder, live)


def check_store(store: Store, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Whether the database answers, and what is in it can be served."""
    cure = "start it, correct RECSYS_DATABASE_URL, or run `recsys-serve migrate`"
    try:
        is_ready, keys = store.is_ready(), store.keys()
    except StoreUnavailableError as error:
        yield Finding("database", Outcome.FAIL, str(error), cure)
        return
    if not is_ready:
        yield Finding("database", Outcome.FAIL, "it has another schema than this program", cure)
        return
    yield Finding("database", Outcome.OK, "it answers, and has the schema of this program")
    valid = [key.role for key in keys if key.revoked_at is None and not _is_past(key.expires_at, now)]
    if Role.PORTAL in valid or Role.ADMIN in valid:
        yield Finding("keys", Outcome.OK, f"{len(valid)} valid")
    else:
        text = "no valid key may ask for recommendations"
        yield Finding("keys", Outcome.WARN, text, "recsys-serve keys create --role portal")
    yield _check_policy(store, now)
    yield from _check_data(store, settings, now)


def _is_past(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


def _check_policy(store: Store, now: datetime) -> Finding:
    wanted = store.policy_in_force(now)
    if wanted is None:
        text = "none was published: offers are ranked without rules"
        return Finding("policy", Outcome.WARN, text, "recsys-serve policy publish DIR")
    found = readable_policy(store, wanted, now)
    cure = "publish one that this program reads: recsys-serve policy publish DIR"
    if found is None:
        return Finding("policy", Outcome.FAIL, f"{wanted.version} cannot be read, nor one before it", cure)
    if found.version != wanted.version:
        text = f"{wanted.version} cannot be read; {found.version} would be used"
        return Finding("policy", Outcome.WARN, text, cure)
    return Finding("policy", Outcome.OK, f"{found.version} is in force")


def _check_data(store: Store, settings: Settings, now: datetime) -> Iterator[Finding]:
    meta = tomllib.loads(store.documents().get("dataset.toml", ""))
    zone = str(meta.get("time_zone", "UTC"))
    ages = store.source_ages()
    if not ages:
        yield Finding("data", Outcome.WARN, "nothing was loaded yet", "recsys-serve load DIR")
    elif zone != settings.time_zone:
        text = f"the data's days are those of {zone}, the server's those of {settings.time_zone}"
        yield Finding("time zone", Outcome.WARN, text, f"set RECSYS_TIME_ZONE={zone}")
    else:
        yield Finding("time zone", Outcome.OK, zone)
    known = [each for age in ages for each in (age.loaded_at, age.newest_recorded_at) if each is not None]
    yield _check_clock(known, now)


def _check_clock(known: Sequence[datetime], now: datetime) -> Finding:
    newest = max(known, default=_EARLIEST)
    cure = "set the machine's clock, and let a time service keep it"
    if now < _EARLIEST:
        return Finding("clock", Outcome.FAIL, f"it says {now:%Y-%m-%d %H:%M} UTC", cure)
    if newest > now + _MOST_SKEW:
        text = f"it says {now:%Y-%m-%d %H:%M} UTC, but data were recorded at {newest:%Y-%m-%d %H:%M}"
        return Finding("clock", Outcome.FAIL, text, cure)
    return Finding("clock", Outcome.OK, f"{now:%Y-%m-%d %H:%M} UTC")


def check_all(
    settings: Settings,
    environment: Mapping[str, str],
    store: Store,
    database_file: Path | None,
    now: datetime,
    console_fault: str = "",
) -> list[Finding]:
    """Every check, none of which keeps another from being made.

    Args:
        settings: The settings.
        environment: The variables they were read from.
        store: The database.
        database_file: Of an embedded database; None = the database is elsewhere.
        now: The present instant.
        console_fault: Why the console cannot be served as it is set; "" = it can.
    """
    found = [*check_settings(settings, environment, console_fault), *check_folders(settings, database_file)]
    is_missing = database_file is not None and not database_file.exists()
    asked: Store | None = None
    if is_missing:
        text = f"there is no file {database_file} yet; the server makes it"
        found.append(Finding("database", Outcome.WARN, text, "recsys-serve load DIR"))
    else:
        try:
            about_store = list(check_store(store, settings, now))
        except RecsysError as error:
            about_store = [Finding("database", Outcome.FAIL, str(error), "see the server's log")]
        found += about_store
        if all(each.name != "database" or each.outcome is Outcome.OK for each in about_store):
            asked = store
    found.append(check_bundles(asked, settings.bundles_dir, now))
    return found
