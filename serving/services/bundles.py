"""Use cases: the life of bundles: publish, promote, roll back, pin; every word is an order that stays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recsys.bundle import Bundle, Manifest, load_bundle, newest_bundle
from recsys.decision.catalogue import CompiledCatalogue
from recsys.errors import BundleError, BundleNotFoundError, ConflictError, CorruptBundleError
from serving.orders import BundleAction, BundleOrder
from serving.ports import Store
from serving.services.bundle_gate import Unreadable, judge_bundle
from serving.services.bundle_registry import (
    BundleStatus,
    Registered,
    Registry,
    read_registry,
    served_bundle,
)
from serving.services.bundle_source import load_published
from serving.services.experiments import Voice
from serving.services.promotion import Evidence, Judged
from serving.services.world import BundleScorer
from serving.telemetry import log

# Enough to meet clients of every kind, few enough to take a moment.
_CLIENTS_SCORED = 100
_NOT_JUDGED = Judged("", ())


class Said(NamedTuple):
    """What came of an order.

    Attributes:
        order: As it is kept.
        warnings: What should be looked at, one sentence for each.
    """

    order: BundleOrder
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromotionCase:
    """What speaks for a promotion.

    Attributes:
        evidence: An off-policy run on the bundle; None = there is none.
        override: Why it is to go live although the figures speak against it; "" = it is not.
    """

    evidence: Evidence | None = None
    override: str = ""


def publish_bundle(store: Store, folder: Path | None, name: str, voice: Voice) -> Said:
    """Make a bundle of the folder a candidate, after every file of it was verified and it has scored clients.

    Args:
        store: Where clients, catalogue and orders are.
        folder: Of the bundles.
        name: Name of the bundle's own folder in it.
        voice: Who publishes it, when and why.

    Raises:
        BundleError: It is not there, damaged, of another format, or does not score.
        ConflictError: It was published already, or somebody gave another order meanwhile.
    """
    bundle = load_bundle(_place_of(folder, name))
    check_scores(store, bundle, voice)
    registry = read_registry(store)
    known = registry.entries.get(bundle.version)
    if known is not None and known.status is not BundleStatus.RETIRED:
        raise ConflictError(f"bundle {bundle.version} was published already; it is {known.status.value}")
    entry = Registered(bundle.version, name, bundle.manifest.digest(), BundleStatus.CANDIDATE, ())
    return _give(store, registry, BundleAction.PUBLISH, entry, voice)


def shadow_bundle(store: Store, folder: Path | None, version: str, voice: Voice) -> Said:
    """Have a published bundle scored beside the live one; another one in shadow becomes a candidate again.

    Raises:
        UnknownBundleError: It was not published.
        ConflictError: It is live or in shadow already, cannot be loaded as it was published, or somebody
            gave another order meanwhile.
    """
    registry = read_registry(store)
    entry = registry.find(version)
    if entry.status in (BundleStatus.LIVE, BundleStatus.SHADOW):
        raise ConflictError(f"bundle {entry.version} is {entry.status.value} already")
    check_scores(store, _loaded(folder, entry), voice)
    judged = _NOT_JUDGED
    if registry.live is None and served_bundle(store, folder) == entry.version:
        judged = Judged("", (f"{entry.version} is what is served: in shadow it is compared with itself",))
    return _give(store, registry, BundleAction.SHADOW, entry, voice, judged)


def promote_bundle(
    store: Store, folder: Path | None, version: str, voice: Voice, case: PromotionCase = PromotionCase()
) -> Said:
    """Make a published bundle the live one, where its figures do not speak against it.

    Raises:
        UnknownBundleError: It was not published.
        ConfigError: The evidence cannot be read, or is about another bundle.
        ConflictError: It is live already, another one is pinned, it is worse than the live one, or that one
            cannot be read, and nobody overrides that, it cannot be loaded as it was published, or somebody
            gave another order meanwhile.
    """
    registry = read_registry(store)
    entry = registry.find(version)
    if entry.status is BundleStatus.LIVE:
        raise ConflictError(f"bundle {entry.version} is live already")
    _check_not_pinned(registry)
    bundle = _loaded(folder, entry)
    check_scores(store, bundle, voice)
    live = _live_manifest(folder, registry)
    if live is not None and live.version == entry.version:
        live = None
    judged = judge_bundle(
        bundle.manifest, live, voice.author, case.evidence, case.override, store.policy_in_force(voice.at)
    )
    return _give(store, registry, BundleAction.PROMOTE, entry, voice, judged)


def roll_back(store: Store, folder: Path | None, voice: Voice) -> Said:
    """Make the bundle live again that was so before.

    Raises:
        ConflictError: None was, the present one is pinned, the one before cannot be loaded any more, or
            somebody gave another order meanwhile.
    """
    registry = read_registry(store)
    live, before = registry.live, registry.before
    if live is None:
        raise ConflictError("no bundle is live in the registry: promote one, or fit another one")
    _check_not_pinned(registry)
    if before is None:
        raise ConflictError(f"nothing was live before {live.version}: promote another bundle instead")
    _loaded(folder, before)
    return _give(
        store, registry, BundleAction.ROLL_BACK, before, voice, Judged(f"instead of {live.version}", ())
    )


def pin_bundle(store: Store, voice: Voice) -> Said:
    """Hold the live bundle where it is: until it is unpinned nobody promotes another, or rolls back.

    Raises:
        ConflictError: None is live, it is pinned already, or somebody gave another order meanwhile.
    """
    registry = read_registry(store)
    if registry.live is None:
        raise ConflictError("no bundle is live in the registry: promote one before you pin it")
    _check_not_pinned(registry)
    return _give(store, registry, BundleAction.PIN, registry.live, voice)


def unpin_bundle(store: Store, voice: Voice) -> Said:
    """Let the live bundle be replaced again.

    Raises:
        ConflictError: None is pinned, or somebody gave another order meanwhile.
    """
    registry = read_registry(store)
    if registry.live is None or registry.pin is None:
        raise ConflictError("no bundle is pinned")
    return _give(store, registry, BundleAction.UNPIN, registry.live, voice)


def retire_bundle(store: Store, version: str, voice: Voice) -> Said:
    """Give up a candidate, or a bundle in shadow.

    Raises:
        UnknownBundleError: It was not published.
        ConflictError: It is live, or retired already, or somebody gave another order meanwhile.
    """
    registry = read_registry(store)
    entry = registry.find(version)
    if entry.status is BundleStatus.LIVE:
        raise ConflictError(f"bundle {entry.version} is live: promote another one, or roll back")
    if entry.status is BundleStatus.RETIRED:
        raise ConflictError(f"bundle {entry.version} is retired already")
    return _give(store, registry, BundleAction.RETIRE, entry, voice)


def check_scores(store: Store, bundle: Bundle, voice: Voice) -> None:
    """Score some clients for the whole catalogue.

    Raises:
        CorruptBundleError: It does not score, or what it gives are no probabilities.
    """
    catalogue = CompiledCatalogue(store.catalogue(voice.at).offers)
    states = store.client_states("", _CLIENTS_SCORED)
    try:
        scorer = BundleScorer(bundle, catalogue)
        found = [scorer.population, *(scorer.score_all(states, voice.at) if states else ())]
    except BundleError:
        raise
    except Exception as error:
        log("bundle_does_not_score", error=error, bundle=bundle.version)
        raise CorruptBundleError(
            f"bundle {bundle.version} loads, but does not score ({type(error).__name__}: {error}): fit it"
            " again"
        ) from error
    for scored in found:
        values = scored.estimate.probabilities
        if not bool(np.all((values >= 0) & (values <= 1))):
            raise CorruptBundleError(f"bundle {bundle.version} gives probabilities outside 0–1: fit it again")


def _give(
    store: Store,
    registry: Registry,
    action: BundleAction,
    entry: Registered,
    voice: Voice,
    judged: Judged = _NOT_JUDGED,
) -> Said:
    order = BundleOrder(
        number=registry.n_orders + 1,
        version=entry.version,
        folder=entry.folder,
        digest=entry.digest,
        action=action,
        author=voice.author,
        reason=voice.reason,
        judgement=judged.note,
        recorded_at=voice.at,
    )
    store.put_bundle_order(order)
    log(
        "bundle_ordered",
        action=action.value,
        bundle=entry.version,
        number=order.number,
        author=voice.author,
        judgement=judged.note,
    )
    return Said(order, judged.warnings)


def _check_not_pinned(registry: Registry) -> None:
    pin = registry.pin
    if pin is not None:
        why = f": {pin.reason}" if pin.reason else ""
        raise ConflictError(f"bundle {pin.version} is pinned by {pin.author}{why}; unpin it first")


def _place_of(folder: Path | None, name: str) -> Path:
    if folder is None:
        raise BundleNotFoundError(
            "no folder of bundles is known here; name it with --bundles DIR or RECSYS_BUNDLES_DIR"
        )
    if Path(name).name != name or name.startswith("."):
        raise BundleNotFoundError(f"{name!r} is no name of a folder in {folder}")
    return folder / name


def _loaded(folder: Path | None, entry: Registered) -> Bundle:
    """A published bundle, as it was published."""
    try:
        return load_published(folder, entry)
    except BundleError as error:
        raise ConflictError(
            f"bundle {entry.version} cannot be served: {error}; put its folder back as it was published, or"
            " promote another bundle"
        ) from error


def _live_manifest(folder: Path | None, registry: Registry) -> Manifest | Unreadable | None:
    """What the live bundle, or the newest of the folder, says of itself; None = there is neither."""
    live = registry.live
    try:
        if live is not None:
            return load_published(folder, live).manifest
        return None if folder is None else load_bundle(newest_bundle(folder)).manifest
    except BundleError as error:
        if live is None and isinstance(error, BundleNotFoundError):
            return None
        return Unreadable(None if live is None else live.version, str(error))
