"""What the arms of running experiments decide with: read and compiled when something changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from recsys.bundle import MANIFEST, Bundle, load_bundle
from recsys.decision.conditions.compile import ConditionSet
from recsys.decision.engine import Engine
from recsys.decision.volume import VolumeCaps
from recsys.errors import (
    BundleNotFoundError,
    ConfigError,
    CorruptBundleError,
    InvalidPolicyError,
    RecsysError,
    StoreUnavailableError,
)
from recsys.experiments.assignment import Assigner
from recsys.experiments.experiment import HOLDOUT_ID, Holdout, Status
from recsys.experiments.life import Standing
from serving.orders import ExperimentOrder, standing_orders
from serving.ports import Store
from serving.services.bundle_registry import Registry
from serving.services.bundle_source import load_published
from serving.services.parts import Parts, parts_of, touched_by
from serving.services.policies import find_policy, read_published
from serving.services.trials import Equipment, LiveExperiment, Trials
from serving.services.world import BundleScorer, Ranking, ScoreCache, World
from serving.telemetry import log

Built = TypeVar("Built")
Document = TypeVar("Document", Standing, Holdout)
_Policy = tuple[Engine, VolumeCaps]


class Variants:
    """Builds what arms need, and keeps the models among it that stay the same.

    Args:
        store: Where experiments and policies live.
        bundles_dir: Folder of the bundles; None for none.
        cache_size: Clients whose scores are kept, for each bundle.
    """

    def __init__(self, store: Store, bundles_dir: Path | None, cache_size: int) -> None:
        self._store = store
        self._bundles_dir = bundles_dir
        self._cache_size = cache_size
        self._bundles: dict[str, Bundle] = {}
        self._rankings: dict[str, tuple[Ranking, Ranking]] = {}
        self._missing: set[Path] = set()

    def has_arrivals(self) -> bool:
        """Whether a bundle is there now that an arm asked for in vain."""
        return any((path / MANIFEST).is_file() for path in self._missing)

    def trials(self, base: World, registry: Registry, now: datetime) -> Trials | None:
        """The experiments that run beside a world; None = neither one nor a hold-out.

        What an arm asks for and cannot be had is logged and told to those whom it concerns; it is no error.

        Args:
            base: What is in force.
            registry: What stands of bundles; where any was published, an arm's must have been.
            now: The present instant.

        Raises:
            StoreUnavailableError: The store does not answer.
        """
        orders = standing_orders(self._store.experiment_orders())
        held_out = orders.pop(HOLDOUT_ID, None)
        holdout = None if held_out is None else _read(held_out, Holdout)
        if holdout is not None and holdout.share == 0:
            holdout = None
        running = _in_order_of_start(
            standing
            for order in orders.values()
            if order.status == Status.RUNNING and (standing := _read(order, Standing)) is not None
        )
        self._missing = set()
        wanted = [parts_of(arm) for standing in running for arm in standing.experiment.arms]
        versions = {parts.bundle for parts in wanted if parts.bundle is not None}
        self._bundles = {version: kept for version, kept in self._bundles.items() if version in versions}
        self._rankings = {version: kept for version, kept in self._rankings.items() if version in versions}
        if not running and holdout is None:
            return None
        rankings = _build_each(versions, lambda version: self._ranking(version, base, registry))
        policies = _build_each(
            {parts.policy for parts in wanted if parts.policy is not None},
            lambda version: self._policy(version, base, now),
        )
        equipment = Equipment(policies, rankings)
        return Trials([_trial(each, base, equipment) for each in running], holdout, base, equipment)

    def _policy(self, version: str, base: World, now: datetime) -> _Policy:
        published = find_policy(self._store, version, now)
        if published.version == base.policy_version:
            return base.engine, base.volume_caps
        policy = read_published(published)
        if policy is None:
            raise InvalidPolicyError(f"policy {version} cannot be read by this program")
        zone = base.engine.zone
        caps = VolumeCaps(policy.engagement.volume_caps, base.catalogue, zone)
        return Engine(base.catalogue, policy, zone), caps

    def _ranking(self, version: str, base: World, registry: Registry) -> Ranking:
        present = base.ranking
        if base.bundle_version == version:
            return present
        stands_on, kept = self._rankings.get(version, (None, present))
        if stands_on is present:
            return kept
        if stands_on is not None and stands_on.cache is present.cache:
            # only the holders were counted since: models and their scores stay
            ranking = replace(
                kept, fallback=present.fallback, common=present.common, is_counted=present.is_counted
            )
            self._rankings[version] = (present, ranking)
            return ranking
        bundle = self._bundle(version, registry)
        scorer = BundleScorer(bundle, base.catalogue)
        ranking = replace(
            present,
            bundle=bundle,
            bundle_fault=None,
            cache=ScoreCache(self._cache_size),
            features=scorer.features,
            scorer=scorer,
            degraded=None,
        )
        self._rankings[version] = (present, ranking)
        return ranking

    def _bundle(self, version: str, registry: Registry) -> Bundle:
        bundle = self._bundles.get(version)
        if bundle is None:
            bundle = self._bundles[version] = self._load(version, registry)
        return bundle

    def _load(self, version: str, registry: Registry) -> Bundle:
        folder = self._bundles_dir
        entry = registry.entries.get(version)
        if registry.entries and entry is None:
            raise BundleNotFoundError(
                f"bundle {version} was not published: publish it, or stop the experiment"
            )
        name = version if entry is None else entry.folder
        if folder is None or Path(name).name != name:
            raise BundleNotFoundError(f"no folder of bundles has a bundle {version!r}")
        path = folder / name
        if not (path / MANIFEST).is_file():
            self._missing.add(path)
            raise BundleNotFoundError(f"there is no bundle {path}: put it there, or stop the experiment")
        bundle = load_bundle(path) if entry is None else load_published(folder, entry)
        if bundle.version != version:
            raise CorruptBundleError(f"bundle {path} calls itself {bundle.version}")
        return bundle


def _read(order: ExperimentOrder, kind: type[Document]) -> Document | None:
    """What was ordered; None where this program cannot read it."""
    try:
        return kind.model_validate_json(order.document)
    except ValidationError as error:
        cause = f"{error.error_count()} fields cannot be read by this program"
        log("experiment_refused", level=logging.ERROR, experiment=order.experiment_id, cause=cause)
        return None


def _in_order_of_start(running: Iterable[Standing]) -> list[Standing]:
    return sorted(running, key=lambda each: (str(each.started_at), each.experiment.experiment_id))


def _build_each(versions: Iterable[str], build: Callable[[str], Built]) -> Mapping[str, Built]:
    """What can be built, by version; the log says why the rest cannot."""
    found: dict[str, Built] = {}
    for version in sorted(versions):
        try:
            found[version] = build(version)
        except StoreUnavailableError:
            raise
        except RecsysError as error:
            log("arm_refused", level=logging.ERROR, version=version, cause=str(error))
        except Exception as error:  # noqa: BLE001 -- whatever an arm asks for, clients get lists
            log("arm_refused", level=logging.ERROR, error=error, version=version)
    return found


def _trial(standing: Standing, base: World, equipment: Equipment) -> LiveExperiment:
    experiment = standing.experiment
    declared = [parts_of(arm) for arm in experiment.arms]
    lacking = [_lacking(parts, equipment) for parts in declared]
    parts = tuple(Parts() if missing else wanted for wanted, missing in zip(declared, lacking, strict=True))
    engines = [equipment.engines[each.policy][0] for each in parts if each.policy is not None]
    for arm, missing in zip(experiment.arms, lacking, strict=True):
        if missing:
            log(
                "arm_unavailable",
                level=logging.ERROR,
                experiment=experiment.experiment_id,
                arm=arm.name,
                cause=missing,
            )
    targeting, can_target = _targeting(standing, base)
    return LiveExperiment(
        standing=standing,
        assigner=Assigner(standing),
        parts=parts,
        faults=tuple(lacking),
        placement_ids=frozenset(base.engine.placements).intersection(*[one.placements for one in engines]),
        targeting=targeting,
        is_open=can_target,
        touched=frozenset(touched_by(experiment)),
        is_same=len(set(declared)) == 1,
    )


def _lacking(parts: Parts, equipment: Equipment) -> str | None:
    """What an arm asks for and cannot be had; None = nothing."""
    if parts.policy is not None and parts.policy not in equipment.engines:
        return f"policy {parts.policy}"
    if parts.bundle is not None and parts.bundle not in equipment.rankings:
        return f"bundle {parts.bundle}"
    return None


def _targeting(standing: Standing, base: World) -> tuple[ConditionSet | None, bool]:
    """The condition on clients, and whether it can be read: who cannot be judged is not let in."""
    experiment = standing.experiment
    if experiment.targeting is None:
        return None, True
    segments = base.engine.policy.engagement.segments
    try:
        return ConditionSet([experiment.targeting], segments, base.catalogue), True
    except ConfigError as error:
        log(
            "targeting_refused",
            level=logging.ERROR,
            experiment=experiment.experiment_id,
            cause=str(error),
        )
        return None, False
