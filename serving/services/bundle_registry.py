"""What stands of all that was said of bundles: which is live, which is in shadow, what may be said next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from recsys.bundle import load_bundle, newest_bundle
from recsys.config import nearest_name
from recsys.errors import BundleError, UnknownBundleError
from serving.orders import BundleAction, BundleOrder
from serving.ports import Store


class BundleStatus(StrEnum):
    """How a bundle stands.

    ``candidate``: published. ``shadow``: scored beside the live one, shown to nobody. ``live``: decides.
    ``retired``: was live, or was given up.
    """

    CANDIDATE = "candidate"
    SHADOW = "shadow"
    LIVE = "live"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Registered:
    """A bundle that was published.

    Attributes:
        version: Its version.
        folder: Its folder's name in the folder of bundles.
        digest: Of its manifest, as it was when it was published.
        status: How it stands.
        orders: Everything that was said of it, the last one last.
    """

    version: str
    folder: str
    digest: str
    status: BundleStatus
    orders: tuple[BundleOrder, ...]

    @property
    def last(self) -> BundleOrder:
        """What was said of it last."""
        return self.orders[-1]


@dataclass(frozen=True, slots=True)
class Registry:
    """What stands.

    Attributes:
        entries: Every bundle by version, in the order in which they were first published.
        lives: The versions that were live one after the other and not rolled back; the last one is live.
        shadow: The version in shadow; None = none is.
        pin: The order that pins the live one; None = it is not pinned.
        n_orders: How much was said.
    """

    entries: Mapping[str, Registered] = field(default_factory=lambda: MappingProxyType({}))
    lives: tuple[str, ...] = ()
    shadow: str | None = None
    pin: BundleOrder | None = None
    n_orders: int = 0

    @property
    def live(self) -> Registered | None:
        """The bundle that decides; None = nobody promoted one, the newest of the folder does."""
        return self.entries[self.lives[-1]] if self.lives else None

    @property
    def before(self) -> Registered | None:
        """The bundle that a roll-back makes live; None = there is none."""
        return self.entries[self.lives[-2]] if len(self.lives) > 1 else None

    @property
    def in_shadow(self) -> Registered | None:
        """The bundle in shadow; None = none is."""
        return None if self.shadow is None else self.entries[self.shadow]

    def find(self, version: str) -> Registered:
        """The published bundle of a version, which may be shortened where that is plain.

        Raises:
            UnknownBundleError: There is none, or several begin like that.
        """
        if version in self.entries:
            return self.entries[version]
        begun = [name for name in self.entries if version and name.startswith(version)]
        if len(begun) == 1:
            return self.entries[begun[0]]
        if begun:
            raise UnknownBundleError(version, f"{len(begun)} begin like that: {', '.join(begun[:5])}")
        near = nearest_name(version, list(self.entries))
        hint = f"did you mean {near!r}?" if near else "publish it first, or list those that are"
        raise UnknownBundleError(version, hint)


NOTHING_SAID = Registry()
_ABOUT_PINS = (BundleAction.PIN, BundleAction.UNPIN)


def registry_of(said: Iterable[BundleOrder]) -> Registry:
    """What stands of everything that was said.

    A roll-back takes the live bundle off the row of those that were live, so that a second one goes further
    back instead of forth again.

    Args:
        said: Ordered by number.
    """
    listed = list(said)
    lives, shadow = _lives(listed), _in_shadow(listed)
    statuses = dict.fromkeys(_retired(listed), BundleStatus.RETIRED)
    if shadow is not None:
        statuses[shadow] = BundleStatus.SHADOW
    if lives:
        statuses[lives[-1]] = BundleStatus.LIVE
    orders: dict[str, list[BundleOrder]] = {}
    for order in listed:
        orders.setdefault(order.version, []).append(order)
    entries = {
        version: _registered(given, statuses.get(version, BundleStatus.CANDIDATE))
        for version, given in orders.items()
    }
    pins = [order for order in listed if order.action in _ABOUT_PINS]
    pin = pins[-1] if pins and pins[-1].action is BundleAction.PIN else None
    return Registry(MappingProxyType(entries), tuple(lives), shadow, pin, len(listed))


def _lives(said: Iterable[BundleOrder]) -> list[str]:
    """The versions that were live one after the other and not rolled back."""
    lives: list[str] = []
    for order in said:
        if order.action is BundleAction.PROMOTE:
            lives.append(order.version)
        elif order.action is BundleAction.ROLL_BACK:
            del lives[-1:]
    return lives


def _in_shadow(said: Iterable[BundleOrder]) -> str | None:
    """The version in shadow: whatever else is said of it but pins ends that."""
    shadow = None
    for order in said:
        if order.action is BundleAction.SHADOW:
            shadow = order.version
        elif order.version == shadow and order.action not in _ABOUT_PINS:
            shadow = None
    return shadow


def _retired(said: Iterable[BundleOrder]) -> set[str]:
    """The versions that were live before or were given up, and neither published nor tried anew since."""
    retired: set[str] = set()
    live: list[str] = []
    for order in said:
        if order.action is BundleAction.RETIRE:
            retired.add(order.version)
        elif order.action in (BundleAction.PROMOTE, BundleAction.ROLL_BACK):
            retired.update(live)
            live = [order.version]
        if order.action not in (BundleAction.RETIRE, *_ABOUT_PINS):
            retired.discard(order.version)
    return retired


def read_registry(store: Store) -> Registry:
    """What stands in a store."""
    return registry_of(store.bundle_orders())


def served_bundle(store: Store, folder: Path | None) -> str | None:
    """Version of the bundle that a server takes: the live one, else the newest of a folder.

    Returns:
        The version; None = there is none that arms of experiments can name.
    """
    live = read_registry(store).live
    if live is not None:
        return live.version
    try:
        path = None if folder is None else newest_bundle(folder)
        bundle = None if path is None else load_bundle(path)
    except BundleError:
        return None
    return bundle.version if path is not None and bundle is not None and bundle.version == path.name else None


def _registered(orders: list[BundleOrder], status: BundleStatus) -> Registered:
    # the folder of the last publication counts: a bundle that was retired may be published from another one
    published = [order for order in orders if order.action is BundleAction.PUBLISH][-1]
    return Registered(published.version, published.folder, published.digest, status, tuple(orders))
