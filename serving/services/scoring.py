"""Scores of one client, now: from the cache, from the models, or from the fallback, which always answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.engine import Engine
from recsys.decision.policy.policy import Policy
from recsys.decision.volume import Tally
from recsys.domain import ClientState
from recsys.errors import StoreUnavailableError
from recsys.experiments.experiment import HOLDOUT_ID
from serving.orders import ContentVersion
from serving.ports import Store
from serving.services.bundle_source import SCORING_FAILED, BundleSource
from serving.services.policies import readable_policy
from serving.services.variants import Variants
from serving.services.warm_up import clients_to_warm_up, warm_up
from serving.services.world import (
    BundleScorer,
    Ranking,
    Scored,
    World,
    build_ranking,
    build_world,
    with_holders,
)
from serving.telemetry import log

_NOTHING: frozenset[str] = frozenset()


class Scoring:
    """Keeps the present `World` and scores clients with it.

    A request takes `world` once and uses that object to its end, so a swap in between harms nobody.

    Args:
        store: Where catalogue and policies live.
        bundles_dir: Folder of the bundles; None for none. The one that is live is used, and the newest where
            nobody ordered one.
        zone: Days and hours of policies are those of this zone.
        cache_size: Clients whose scores are kept; 0 keeps none.
        is_logging: Whether decisions are logged, so that the catalogues they are made with are to be kept,
            new models are warmed up for many clients, and `count_holders` is called again and again.

    Attributes:
        source: Where the models come from.
        policy_fault: One sentence on the policy that should be in force and cannot be read; None = well.
        looked_at: When `refresh` last saw everything; None = never.
    """

    def __init__(
        self,
        store: Store,
        bundles_dir: Path | None,
        zone: tzinfo,
        cache_size: int,
        *,
        is_logging: bool = True,
    ) -> None:
        self._store = store
        self._zone = zone
        self._is_logging = is_logging
        self._policy = Policy()
        self.source = BundleSource(store, bundles_dir)
        self._world: World | None = None
        self._counted: tuple[Ranking, Ranking] | None = None
        self._cache_size = cache_size
        self._variants = Variants(store, bundles_dir, cache_size)
        self._used_up: dict[str, frozenset[str]] = {}
        self.policy_fault: str | None = None
        self.looked_at: datetime | None = None

    @property
    def world(self) -> World:
        """The present version of everything shared.

        Raises:
            StoreUnavailableError: The store never answered yet, or has policies of which this program can
                read none.
        """
        if self._world is None:
            raise StoreUnavailableError(
                self.policy_fault or "the catalogue could not be read yet; try again in a second",
                is_told=True,
            )
        return self._world

    def used_up_caps(self, world: World) -> frozenset[str]:
        """Volume caps of that world's policy that were used up at the last look."""
        return self._used_up.get(world.policy_version, _NOTHING)

    def score_all(
        self, world: World, states: Sequence[ClientState], now: datetime, are_stored: Sequence[bool]
    ) -> list[tuple[Scored, str | None]]:
        """Score clients; never fails.

        Args:
            world: The world of these requests.
            states: The clients' states.
            now: The moment of the requests, aware.
            are_stored: Whether each state is the stored one, so that its version identifies it.

        Returns:
            The scores of each, and the cause when they are a fallback.
        """
        ranking = world.ranking
        scorer = ranking.scorer
        if scorer is None:
            return [(ranking.fallback, ranking.degraded)] * len(states)
        found: list[tuple[Scored, str | None] | None] = []
        missed: list[int] = []
        marks: dict[int, int] = {}
        for place, (state, is_stored) in enumerate(zip(states, are_stored, strict=True)):
            scored: Scored | None = None
            if state.profile is not None and not state.profile.is_profiling_allowed:
                scored = scorer.population
            elif is_stored:
                marks[place] = scorer.mark(state, now)
                scored = ranking.cache.get(state.client_id, marks[place])
            if scored is None:
                missed.append(place)
            found.append(None if scored is None else (scored, None))
        for place, answer in zip(missed, self._score_missed(world, states, missed, now), strict=True):
            found[place] = answer
            if place in marks and answer[1] is None:
                ranking.cache.put(states[place].client_id, marks[place], answer[0])
        return [answer for answer in found if answer is not None]

    def _score_missed(
        self, world: World, states: Sequence[ClientState], missed: Sequence[int], now: datetime
    ) -> list[tuple[Scored, str | None]]:
        """Score together; where that fails each alone, so that one client harms no other."""
        ranking = world.ranking
        if not missed or ranking.scorer is None:
            return []
        try:
            return [(one, None) for one in ranking.scorer.score_all([states[at] for at in missed], now)]
        except Exception as error:  # noqa: BLE001 -- whatever a model does, the client gets a list
            if len(missed) > 1:
                return [self._score_missed(world, states, [at], now)[0] for at in missed]
            log("scoring_failed", level=logging.ERROR, error=error, bundle=world.bundle_version)
            return [(ranking.fallback, SCORING_FAILED)]

    def refresh(self, now: datetime) -> None:
        """Look for another bundle, catalogue or policy, and swap to them. Blocks; run in a thread.

        A bundle that cannot be used leaves the present one in use.

        Args:
            now: The present instant: policies and stops take effect at theirs.
        """
        version = self._store.content_version(now)
        self.source.look(version)
        world = self._world
        if (
            world is None
            or world.content_version != version
            or not self._has_bundles_of(world)
            or self._variants.has_arrivals()
        ):
            world = self._build(version, now)
        elif self._counted is not None:
            world = self._with_counts(world, now)
        self._used_up.update(self._count_volumes(world, now))
        self._world = world
        self.looked_at = now

    def count_holders(self) -> None:
        """Make up for a count that the start did not wait for. Blocks; run in a thread of its own.

        The next `refresh` takes it up: that one must not wait, for it also sees stops.
        """
        world = self._world
        if world is not None and not world.ranking.is_counted and self._counted is None:
            counts = self._store.holder_counts()
            self._counted = (world.ranking, with_holders(world.ranking, world.catalogue, counts))

    def _with_counts(self, world: World, now: datetime) -> World:
        """The world with the holders that were counted since; nothing else of it is built anew."""
        ranking = self._ranking(world.content_version, world.catalogue, now)
        world = replace(world, ranking=ranking, trials=None)
        return replace(world, trials=self._variants.trials(world, self.source.registry, now))

    def _build(self, version: ContentVersion, now: datetime) -> World:
        if not self._read_policy(now):
            self._world = None
            raise StoreUnavailableError(self.policy_fault or "")
        source = self._store.catalogue(now)
        if self._is_logging:
            self._store.keep_catalogue(source, now)
        catalogue = CompiledCatalogue(source.offers, source.version)
        engine = Engine(catalogue, self._policy, self._zone)
        ranking = self._ranking(version, catalogue, now)
        world = build_world(self._store, version, engine, ranking)
        world = replace(world, shadow=self._shadow(version, catalogue))
        world = replace(world, trials=self._variants.trials(world, self.source.registry, now))
        log(
            "world_changed",
            content=version,
            bundle=world.bundle_version,
            shadow=None if world.shadow is None else world.shadow.version,
            policy=world.policy_version,
            degraded=world.ranking.degraded,
            n_offers=len(world.catalogue),
            n_experiments=0 if world.trials is None else len(world.trials.running),
        )
        return world

    def _ranking(self, version: ContentVersion, catalogue: CompiledCatalogue, now: datetime) -> Ranking:
        """The ranking in use where nothing that it is made of has changed, else a new one, warmed up."""
        source, before = self.source, self._world
        counted, self._counted = self._counted, None
        if (
            before is not None
            and _has_offers(before, version, catalogue)
            and before.ranking.bundle is source.bundle
            and before.ranking.bundle_fault == source.cause
        ):
            same = before.ranking if counted is None or counted[0] is not before.ranking else counted[1]
            if same.is_counted or self._can_count_later():
                return same
            return with_holders(same, catalogue, self._store.holder_counts())
        # counting takes seconds where there are many; whatever the store does here, no models are at fault
        is_later = before is None and self._can_count_later()
        counts = None if is_later else self._store.holder_counts()
        clients: list[ClientState] = []
        if self._is_logging and source.bundle is not None:
            clients = clients_to_warm_up(None if before is None else before.ranking, self._store)
        try:
            ranking = build_ranking(counts, catalogue, source.bundle, source.cause, self._cache_size)
            warm_up(ranking, clients, now)
        except Exception as error:
            if source.bundle is None:
                raise
            source.give_up(error)
            return self._ranking(version, catalogue, now)
        return ranking

    def _can_count_later(self) -> bool:
        """Whether holders decide nothing yet: there are models, and nobody is held out from them."""
        if not self._is_logging or self.source.bundle is None:
            return False
        return all(order.experiment_id != HOLDOUT_ID for order in self._store.experiment_orders())

    def _shadow(self, version: ContentVersion, catalogue: CompiledCatalogue) -> BundleScorer | None:
        """The bundle in shadow, aligned; the one in use where nothing that it is made of has changed."""
        bundle, before = self.source.shadow, self._world
        if bundle is None:
            return None
        if (
            before is not None
            and before.shadow is not None
            and before.shadow.bundle is bundle
            and _has_offers(before, version, catalogue)
        ):
            return before.shadow
        try:
            return BundleScorer(bundle, catalogue)
        except Exception as error:  # noqa: BLE001 -- nothing that is only tried out may stop what decides
            self.source.give_up_shadow(error)
            return None

    def _has_bundles_of(self, world: World) -> bool:
        ranking, source = world.ranking, self.source
        shadow = None if world.shadow is None else world.shadow.bundle
        return (
            ranking.bundle is source.bundle
            and ranking.bundle_fault == source.cause
            and shadow is source.shadow
        )

    def _read_policy(self, now: datetime) -> bool:
        """Take the policy in force, or the last one before it that can be read; False = there is none."""
        published = self._store.policy_in_force(now)
        if published is None:
            self._policy, self.policy_fault = Policy(), None
            return True
        if published.version == self._policy.version:
            self.policy_fault = None
            return True
        found = readable_policy(self._store, published, now)
        fault = f"policy {published.version} cannot be read by this program (the log says why)"
        if found is None:
            self.policy_fault = f"{fault}, nor can one before it: publish one that can"
            return False
        is_wanted = found.version == published.version
        self._policy = found
        self.policy_fault = None if is_wanted else f"{fault}; {found.version} is in use"
        return True

    def _count_volumes(self, world: World, now: datetime) -> dict[str, frozenset[str]]:
        """The caps that are used up, by version of the policy whose they are."""
        counts: dict[Tally, Mapping[str, int]] = {}
        used_up: dict[str, frozenset[str]] = {}
        others = () if world.trials is None else world.trials.policies
        for engine, caps in ((world.engine, world.volume_caps), *others):
            for tally in caps.tallies(now):
                if tally not in counts:
                    counts[tally] = self._store.event_counts(tally.event_type, tally.since)
            used_up[engine.policy.version] = frozenset(caps.used_up(counts, now))
        return used_up


def _has_offers(world: World, version: ContentVersion, catalogue: CompiledCatalogue) -> bool:
    """Whether models that are aligned with a world's offers are so with these."""
    return world.content_version.tables == version.tables and world.catalogue.offer_ids == catalogue.offer_ids
