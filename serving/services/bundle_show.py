"""What there is to say of one published bundle."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from recsys.bundle import Manifest
from recsys.errors import BundleError
from serving.ports import Store
from serving.services.bundle_registry import BundleStatus, Registered, read_registry
from serving.services.bundle_source import load_published
from serving.services.disagreement import Summary, summary_of


class BundleShown(NamedTuple):
    """A published bundle.

    Attributes:
        entry: How it stands, and all that was said of it.
        is_pinned: Whether it is live and pinned.
        manifest: What it says of itself; None = its folder cannot be read.
        fault: Why it could not be served now; None = it could.
        shadow: How far it disagreed in shadow.
    """

    entry: Registered
    is_pinned: bool
    manifest: Manifest | None
    fault: str | None
    shadow: Summary


def show_bundle(store: Store, folder: Path | None, version: str) -> BundleShown:
    """Look at a bundle, and at its folder.

    Args:
        store: Where the orders and the decisions in shadow are.
        folder: Of the bundles; None for none.
        version: Its version, or the first letters of it.

    Raises:
        UnknownBundleError: It was not published.
    """
    registry = read_registry(store)
    entry = registry.find(version)
    manifest, fault = None, None
    try:
        manifest = load_published(folder, entry).manifest
    except BundleError as error:
        fault = str(error)
    summary = summary_of(store.shadow_figures(entry.version))
    is_pinned = entry.status is BundleStatus.LIVE and registry.pin is not None
    return BundleShown(entry, is_pinned, manifest, fault, summary)
