"""Where a server's models come from: the bundle that is live, else the newest of a folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from recsys.bundle import Bundle, load_bundle, newest_bundle
from recsys.errors import BundleError, BundleNotFoundError, CorruptBundleError, IncompatibleBundleError
from serving.orders import ContentVersion
from serving.ports import Store
from serving.services.bundle_registry import NOTHING_SAID, Registered, read_registry
from serving.telemetry import log

NO_BUNDLE = "no_bundle"
BUNDLE_CORRUPT = "bundle_corrupt"
BUNDLE_INCOMPATIBLE = "bundle_incompatible"
SCORING_FAILED = "scoring_failed"
UNREGISTERED = "no bundle is live in the registry: the newest of the folder is served"

_Mark = tuple[object, ...]


class BundleSource:
    """Keeps the bundle in use, and the one in shadow, as what is said of bundles wants them.

    A bundle that cannot be used leaves the one in use where it is; it is tried again when its folder changes,
    and one that did not score also when the offers do.

    Args:
        store: Where the orders are.
        folder: Of the bundles; None for none.

    Attributes:
        registry: What stands of all that was said.
        bundle: The one in use; None = none.
        cause: Why there is none; None when there is one.
        shadow: The one in shadow; None = none.
    """

    def __init__(self, store: Store, folder: Path | None) -> None:
        self._store = store
        self._folder = folder
        self.registry = NOTHING_SAID
        self.bundle: Bundle | None = None
        self.cause: str | None = NO_BUNDLE
        self.shadow: Bundle | None = None
        self._newest: Path | None = None
        self._former: Bundle | None = None
        self._live_fault: str | None = None
        self._shadow_fault: str | None = None
        self._tried: dict[str, _Mark] = {}
        self._n_tables = 0
        self._is_given_up = False

    @property
    def faults(self) -> tuple[str, ...]:
        """What is ordered and cannot be had, one sentence for each."""
        return tuple(fault for fault in (self._live_fault, self._shadow_fault) if fault is not None)

    @property
    def note(self) -> str:
        """By whose word the bundle is in use, in a few words."""
        live, pin = self.registry.live, self.registry.pin
        if live is None:
            return UNREGISTERED
        return f"live by order {live.last.number}" + ("" if pin is None else f", pinned by {pin.author}")

    def look(self, version: ContentVersion) -> None:
        """Take what is live now, and what is in shadow; blocks while a bundle is loaded.

        Args:
            version: The store's mark; what is said of bundles is read where it tells of something new.

        Raises:
            StoreUnavailableError: The store does not answer.
        """
        self._forget_scoring(version.tables)
        if version.bundles != self.registry.n_orders:
            self.registry = read_registry(self._store)
        live = self.registry.live
        if live is None:
            self._take_newest()
        else:
            self._take_live(live)
        self._take_shadow(self.registry.in_shadow)

    def give_up(self, error: Exception) -> None:
        """Go back to the bundle used before: the present one loads and does not score."""
        bundle, former = self.bundle, self._former
        if bundle is None:
            return
        in_use = None if former is None else former.version
        log("bundle_unusable", level=logging.ERROR, error=error, bundle=bundle.version, in_use=in_use)
        self._live_fault = _not_used(bundle.version, "it loads, but does not score", former)
        self._is_given_up = True
        self.bundle, self.cause = former, None if former is not None else SCORING_FAILED
        self._former = None

    def give_up_shadow(self, error: Exception) -> None:
        """Do without the bundle in shadow: it loads and does not score."""
        if self.shadow is not None:
            log("shadow_unusable", level=logging.ERROR, error=error, bundle=self.shadow.version)
            self._shadow_fault = f"bundle {self.shadow.version} in shadow loads, but does not score"
            self.shadow, self._is_given_up = None, True

    def _forget_scoring(self, n_tables: int) -> None:
        """Have models tried again that did not score the offers of before."""
        if self._is_given_up and n_tables != self._n_tables:
            self._tried.clear()
            self._newest, self._is_given_up = None, False
        self._n_tables = n_tables

    def _take_live(self, live: Registered) -> None:
        if self._version == live.version:
            self._live_fault, self._newest = None, None
            self._tried.pop("live", None)
            return
        found = self._load_once("live", live, self._refuse_live)
        if found is not None:
            self._use(found)
            self._newest = None

    def _refuse_live(self, live: Registered, error: BundleError) -> None:
        cause = str(error)
        log("bundle_refused", level=logging.WARNING, cause=cause, bundle=live.version, in_use=self._version)
        self._live_fault = _not_used(live.version, cause, self.bundle)
        if self.bundle is None:
            self.cause = _cause_of(error)

    def _take_shadow(self, wanted: Registered | None) -> None:
        if wanted is None:
            self.shadow, self._shadow_fault = None, None
            self._tried.pop("shadow", None)
            return
        if self.shadow is not None and self.shadow.version == wanted.version:
            return
        self.shadow = None
        found = self._load_once("shadow", wanted, self._refuse_shadow)
        if found is not None:
            self.shadow, self._shadow_fault = found, None

    def _refuse_shadow(self, wanted: Registered, error: BundleError) -> None:
        log("shadow_refused", level=logging.WARNING, cause=str(error), bundle=wanted.version)
        self._shadow_fault = f"bundle {wanted.version} in shadow cannot be loaded: {error}"

    def _load_once(
        self, role: str, wanted: Registered, refuse: Callable[[Registered, BundleError], None]
    ) -> Bundle | None:
        """The bundle; None = it was refused, now or before its folder last changed."""
        path = None if self._folder is None else self._folder / wanted.folder
        mark = (wanted.digest, *_mark_of(path))
        if self._tried.get(role) == mark:
            return None
        self._tried[role] = mark
        try:
            return load_published(self._folder, wanted)
        except BundleError as error:
            refuse(wanted, error)
            return None

    def _take_newest(self) -> None:
        """Load the newest bundle of the folder unless it was looked at before."""
        path = self._newest
        try:
            if self._folder is None:
                raise BundleNotFoundError("no folder of bundles is set")
            path = newest_bundle(self._folder)
            if path == self._newest:
                return
            self._use(load_bundle(path))
            self._newest = path
        except BundleError as error:
            self._newest = path
            cause = str(error)
            if self._tried.get("newest") == (cause,):
                return
            self._tried["newest"] = (cause,)
            log("bundle_refused", level=logging.WARNING, cause=cause, in_use=self._version)
            if self.bundle is None:
                self.cause = _cause_of(error)

    def _use(self, bundle: Bundle) -> None:
        self._former, self.bundle = self.bundle, bundle
        self.cause, self._live_fault = None, None
        self._tried.pop("newest", None)

    @property
    def _version(self) -> str | None:
        return None if self.bundle is None else self.bundle.version


def load_published(folder: Path | None, wanted: Registered) -> Bundle:
    """The bundle as it was published.

    Args:
        folder: Of the bundles.
        wanted: What was published.

    Raises:
        BundleNotFoundError: Its folder is gone.
        CorruptBundleError: It is not what was published, or damaged.
        IncompatibleBundleError: This program cannot read it.
    """
    if folder is None:
        raise BundleNotFoundError("no folder of bundles is set: name it with --bundles DIR")
    path = folder / wanted.folder
    bundle = load_bundle(path)
    if bundle.manifest.digest() != wanted.digest:
        raise CorruptBundleError(
            f"bundle {path} was changed since {wanted.version} was published from it: put that one back, or"
            " publish this one"
        )
    return bundle


def _mark_of(path: Path | None) -> _Mark:
    """What changes whenever a file of a folder does."""
    if path is None:
        return ()
    try:
        with os.scandir(path) as entries:
            found = sorted((entry.name, entry.stat().st_mtime_ns, entry.stat().st_size) for entry in entries)
    except OSError:
        return ()
    return tuple(found)


def _not_used(version: str, cause: str, in_use: Bundle | None) -> str:
    rest = "no other is in use" if in_use is None else f"{in_use.version} stays in use"
    return f"bundle {version} should be live and cannot be used here ({cause}); {rest}"


def _cause_of(error: BundleError) -> str:
    if isinstance(error, BundleNotFoundError):
        return NO_BUNDLE
    if isinstance(error, IncompatibleBundleError):
        return BUNDLE_INCOMPATIBLE
    return BUNDLE_CORRUPT
