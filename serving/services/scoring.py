"""Scores of one client, now: from the cache, from the models, or from the fallback, which always answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from recsys.bundle import Bundle, load_bundle, newest_bundle
from recsys.decision.decide import Policy
from recsys.domain import ClientState
from recsys.errors import (
    BundleError,
    BundleNotFoundError,
    IncompatibleBundleError,
    StoreUnavailableError,
)
from recsys.features.builder import FeatureBuilder
from recsys.models.base import Evidence
from serving.ports import Store
from serving.services.world import BundleScorer, ScoreCache, Scored, World, build_world
from serving.telemetry import log

NO_BUNDLE = "no_bundle"
BUNDLE_CORRUPT = "bundle_corrupt"
BUNDLE_INCOMPATIBLE = "bundle_incompatible"
SCORING_FAILED = "scoring_failed"


class Scoring:
    """Keeps the present `World` and scores clients with it.

    A request takes `world` once and uses that object to its end, so a swap in between harms nobody.

    Args:
        store: Where catalogue and placements live.
        bundles_dir: Folder whose newest bundle is used; None for none.
        policy: Parameters of decisions.
        cache_size: Clients whose scores are kept; 0 keeps none.
    """

    def __init__(self, store: Store, bundles_dir: Path | None, policy: Policy, cache_size: int) -> None:
        self._store = store
        self._bundles_dir = bundles_dir
        self._policy = policy
        self._bundle: Bundle | None = None
        self._bundle_path: Path | None = None
        self._bundle_fault: str | None = NO_BUNDLE
        self._refusal = ""
        self._world: World | None = None
        self._cache_size = cache_size

    @property
    def world(self) -> World:
        """The present version of everything shared.

        Raises:
            StoreUnavailableError: The store never answered yet.
        """
        if self._world is None:
            raise StoreUnavailableError("the catalogue could not be read yet; try again in a second")
        return self._world

    def score(self, world: World, state: ClientState, *, is_stored: bool) -> tuple[Scored, str | None]:
        """Score a client; never fails.

        Args:
            world: The world of this request.
            state: The client's state.
            is_stored: Whether the state is the stored one, so that its version identifies it.

        Returns:
            The scores, and the cause when they are a fallback.
        """
        if world.scorer is None:
            return world.fallback, world.degraded
        if state.profile is not None and not state.profile.is_profiling_allowed:
            return world.scorer.population, None
        scored = world.cache.get(state) if is_stored else None
        if scored is not None:
            return scored, None
        try:
            scored = world.scorer.score(state)
        except Exception as error:  # noqa: BLE001 -- whatever a model does, the client gets a list
            log("scoring_failed", level=logging.ERROR, error=error, bundle=world.bundle_version)
            return world.fallback, SCORING_FAILED
        if is_stored:
            world.cache.put(state, scored)
        return scored, None

    def evidence(
        self, world: World, scored: Scored, state: ClientState, positions: list[int]
    ) -> Mapping[int, tuple[Evidence, ...]]:
        """What is true of these positions, by position; nothing where nothing is known of it."""
        if scored.estimate.target is None or world.scorer is None:
            return world.popular
        read = state if scored.estimate.is_personalised else world.scorer.nobody
        try:
            world.scorer.explain(scored, read, positions)
        except Exception as error:  # noqa: BLE001 -- a list without evidence is better than no list
            log("explaining_failed", level=logging.ERROR, error=error, bundle=world.bundle_version)
        return scored.evidence

    def refresh(self) -> None:
        """Look for a newer bundle, catalogue or placements, and swap to them. Blocks; run in a thread.

        A newer bundle that cannot be read leaves the present one in use.
        """
        is_new_bundle = self._read_newest_bundle()
        if (
            not is_new_bundle
            and self._world is not None
            and self._store.content_version() == self._world.content_version
        ):
            return
        world = build_world(self._store, self._policy, ScoreCache(self._cache_size))
        if self._bundle is None:
            world = replace(world, degraded=self._bundle_fault)
        else:
            try:
                world = replace(
                    world,
                    scorer=BundleScorer(self._bundle, world.catalogue),
                    features=FeatureBuilder(world.catalogue.offers, self._bundle.population),
                )
            except Exception as error:  # noqa: BLE001 -- what loads may still not score
                log("bundle_unusable", level=logging.ERROR, error=error, bundle=self._bundle.version)
                world = replace(world, degraded=SCORING_FAILED)
        self._world = world
        log(
            "world_changed",
            content=world.content_version,
            bundle=world.bundle_version,
            degraded=world.degraded,
            n_offers=len(world.catalogue),
        )

    def _read_newest_bundle(self) -> bool:
        """Load the newest bundle unless it was looked at before; True when something changed."""
        try:
            path = self._newest_bundle()
            if path == self._bundle_path:
                return False
            self._bundle_path = path
            self._bundle, self._bundle_fault, self._refusal = load_bundle(path), None, ""
        except BundleError as error:
            if str(error) == self._refusal:
                return False
            self._refusal = str(error)
            log("bundle_refused", level=logging.WARNING, cause=str(error), in_use=self._version)
            if self._bundle is None:
                self._bundle_fault = _fault_of(error)
            return self._bundle is None
        return True

    def _newest_bundle(self) -> Path:
        if self._bundles_dir is None:
            raise BundleNotFoundError("no folder of bundles is set")
        return newest_bundle(self._bundles_dir)

    @property
    def _version(self) -> str | None:
        return None if self._bundle is None else self._bundle.version


def _fault_of(error: BundleError) -> str:
    if isinstance(error, BundleNotFoundError):
        return NO_BUNDLE
    if isinstance(error, IncompatibleBundleError):
        return BUNDLE_INCOMPATIBLE
    return BUNDLE_CORRUPT
