"""Whether an experiment can start: what it names exists, who can enter suffices, its salt is balanced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from recsys.bundle import MANIFEST
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.compile import ConditionSet
from recsys.decision.conditions.facts import Moment
from recsys.decision.policy.names import no_such, placements_of
from recsys.decision.policy.policy import Policy
from recsys.decision.policy.scope import names_of
from recsys.domain import Language
from recsys.errors import (
    ConfigError,
    ConflictError,
    InvalidRequestError,
    RecsysError,
    UnknownPolicyError,
)
from recsys.experiments import life
from recsys.experiments.balance import choose_salt
from recsys.experiments.capacity import capacities_of_caps, capacities_of_people, shared_capacities
from recsys.experiments.experiment import Arm, Experiment, Holdout
from recsys.experiments.life import Standing
from serving.ports import Store
from serving.services.bundle_registry import read_registry, served_bundle
from serving.services.capacity_use import unused_caps
from serving.services.experiment_forced import forced_doubts
from serving.services.experiment_population import population_of
from serving.services.parts import clashes
from serving.services.policies import find_policy, read_published

_SINGULAR = {
    "offers": "offer",
    "categories": "category",
    "need_groups": "need group",
    "suppliers": "supplier",
}
_MOST_TOLD = 3
"""Warnings of people whose hours are shared."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an experiment is to run in.

    Attributes:
        store: Clients, catalogue, policies.
        now: The present instant.
        bundles_dir: Folder of the bundles; None = none is known.
        holdout: Who is withheld from every experiment.
        running: The experiments that run already.
    """

    store: Store
    now: datetime
    bundles_dir: Path | None
    holdout: Holdout
    running: tuple[Standing, ...]


class Checked(NamedTuple):
    """An experiment that may start.

    Attributes:
        experiment: With every version in full.
        warnings: What should be looked at all the same, one sentence for each.
    """

    experiment: Experiment
    warnings: tuple[str, ...]


class Entry(NamedTuple):
    """How clients enter an experiment that starts.

    Attributes:
        salt: The salt by which the strata of the clients fall evenly; None = the experiment is not balanced.
        admissible_salts: Those that are as good, itself among them.
        warnings: Whose hours the arms share, which forced ids should be looked at; one sentence for each.
    """

    salt: str | None
    admissible_salts: tuple[str, ...]
    warnings: tuple[str, ...]


def checked_experiment(around: Surroundings, experiment: Experiment) -> Checked:
    """An experiment whose names all exist.

    Raises:
        InvalidRequestError: One does not; the text names the field and the cure.
    """
    arms = tuple(_with_versions(around, arm, f"arms.{n}") for n, arm in enumerate(experiment.arms))
    catalogue = CompiledCatalogue(around.store.catalogue(around.now).offers)
    policies = _policies(around, arms)
    _check_offers(experiment, catalogue)
    _check_placements(experiment, policies)
    _targeting(experiment, policies.get(None, Policy()), catalogue)
    complete = experiment.model_copy(update={"arms": arms})
    warnings = (
        *clashes(complete, around.running),
        *_shared(around, complete, policies.values(), catalogue),
        *_too_few(around, complete),
    )
    return Checked(complete, warnings)


def hindrances(around: Surroundings, experiment: Experiment) -> tuple[str, ...]:
    """What would keep a draft from starting now, as warnings."""
    try:
        warnings = checked_experiment(around, experiment).warnings
    except InvalidRequestError as error:
        warnings = (str(error),)
    return (*_refusals(around, experiment), *warnings)


def _refusals(around: Surroundings, experiment: Experiment) -> tuple[str, ...]:
    """What the start would say of plan, salts and layers: one sentence for each experiment in the way."""
    seed, found = experiment.seed, dict[str, None]()
    for others, holdout in (*(((each,), None) for each in around.running), ((), around.holdout)):
        try:
            life.start(
                life.draft(experiment),
                around.now,
                running=others,
                holdout=holdout,
                salt=seed,
                admissible_salts=(seed,),
            )
        except ConflictError as error:
            found[f"it cannot be started now: {error}"] = None
    return tuple(found)


def open_windows(standing: Standing, now: datetime, n_open: Callable[[], int]) -> tuple[str, ...]:
    """That what is decided on may still change."""
    stopped_at = standing.stopped_at
    if stopped_at is None or now >= stopped_at + timedelta(days=standing.experiment.window_days):
        return ()
    try:
        n_clients = n_open()
    except RecsysError as error:
        return (f"windows may still be open; they could not be counted: {error}",)
    return (f"decided while the windows of {n_clients:,} clients were open",) if n_clients else ()


def ramp_doubts(around: Surroundings, experiment: Experiment) -> tuple[str, ...]:
    """Who cannot enter, and whether those who can suffice for the plan, at the document's coverage."""
    return (*clashes(experiment, around.running), *_too_few(around, experiment))


def pinned_experiment(around: Surroundings, experiment: Experiment) -> Checked:
    """An experiment with the versions in force now written into every arm that names none.

    What is published meanwhile would change what is compared otherwise, without a trace.
    """
    in_force = around.store.policy_in_force(around.now)
    policy = None if in_force is None else in_force.version
    bundle = served_bundle(around.store, around.bundles_dir)
    arms = tuple(
        arm.model_copy(
            update={
                "policy_version": arm.policy_version or policy,
                "bundle_version": arm.bundle_version or bundle,
            }
        )
        for arm in experiment.arms
    )
    return Checked(experiment.model_copy(update={"arms": arms}), tuple(_unpinned(arms)))


def _unpinned(arms: Sequence[Arm]) -> Iterator[str]:
    for what, cure, names in (
        ("policy", "publish one before", [arm.name for arm in arms if arm.policy_version is None]),
        (
            "bundle",
            "start it where RECSYS_BUNDLES_DIR names the folder of the server",
            [arm.name for arm in arms if arm.bundle_version is None],
        ),
    ):
        if names:
            yield (
                f"arms {', '.join(names)}: no {what} is in force here, so none is written into them, and what"
                f" comes into force later decides for them; {cure} to hold it still"
            )


def entry_of(around: Surroundings, experiment: Experiment) -> Entry:
    """Look at the clients that could enter an experiment now; reads every client.

    Raises:
        ConflictError: There are too few units to balance, or so many that nobody needs it.
    """
    targeting = compiled_targeting(around.store, experiment, around.now)
    found = population_of(around.store, experiment, around.holdout, targeting, around.now)
    people = capacities_of_people(
        (unit_id, manager)
        for unit_id, manager in zip(found.unit_ids, found.managers, strict=True)
        if manager is not None
    )
    told = [each.told(Language.EN) for each in shared_capacities(experiment, around.running, people)]
    rest = (f"… and the same of {len(told) - _MOST_TOLD} more people",) if len(told) > _MOST_TOLD else ()
    forced = forced_doubts(around.store, experiment, targeting, Moment(around.now))
    warnings = (*told[:_MOST_TOLD], *rest, *forced)
    if not experiment.is_balanced:
        return Entry(None, (), warnings)
    balance = choose_salt(experiment, found.unit_ids, found.strata)
    return Entry(balance.salt, balance.admissible_salts, warnings)


def compiled_targeting(store: Store, experiment: Experiment, now: datetime) -> ConditionSet | None:
    """The condition on clients with the segments of the policy in force; None = everybody.

    Raises:
        InvalidRequestError: It names a segment that there is not, or the experiment an offer.
    """
    in_force = store.policy_in_force(now)
    policy = None if in_force is None else read_published(in_force)
    catalogue = CompiledCatalogue(store.catalogue(now).offers)
    _check_offers(experiment, catalogue)
    return _targeting(experiment, policy or Policy(), catalogue)


def _with_versions(around: Surroundings, arm: Arm, place: str) -> Arm:
    """The arm with its policy's version in full, and a bundle that is there."""
    version = arm.policy_version
    if version is not None:
        try:
            version = find_policy(around.store, version, around.now).version
        except UnknownPolicyError as error:
            raise InvalidRequestError(f"{place}.policy_version", str(error)) from error
    if arm.bundle_version is not None:
        _check_bundle(around, arm.bundle_version, f"{place}.bundle_version")
    return arm.model_copy(update={"policy_version": version})


def _check_bundle(around: Surroundings, version: str, place: str) -> None:
    """Refuse a bundle that is not in the folder or, where any was published, was not published."""
    folder, published = around.bundles_dir, read_registry(around.store).entries
    if folder is None:
        raise InvalidRequestError(
            place, "no folder of bundles is known here; name it with --bundles DIR or RECSYS_BUNDLES_DIR"
        )
    known = sorted(published) or sorted(path.parent.name for path in folder.glob(f"[!.]*/{MANIFEST}"))
    if version not in known:
        head = f"there is no bundle {version!r}"
        said = no_such("bundle", version, known).removeprefix(head)
        where = "that was published" if published else f"in {folder}"
        raise InvalidRequestError(place, f"{head} {where}{said}")


def _policies(around: Surroundings, arms: Sequence[Arm]) -> Mapping[str | None, Policy]:
    """The policies that the arms decide with, by version; None = the one in force."""
    found: dict[str | None, Policy] = {}
    for number, arm in enumerate(arms):
        version = arm.policy_version
        if version in found or (version is None and around.store.policy_in_force(around.now) is None):
            continue
        policy = read_published(find_policy(around.store, version, around.now))
        if policy is None:
            place = f"arms.{number}.policy_version"
            raise InvalidRequestError(place, "this program cannot read that policy; publish another one")
        found[version] = policy
    return found


def _check_offers(experiment: Experiment, catalogue: CompiledCatalogue) -> None:
    known = names_of(catalogue.offers)
    for number, arm in enumerate(experiment.arms):
        for offer_id in arm.texts:
            if offer_id not in known["offers"]:
                place = f"arms.{number}.texts.{offer_id}"
                raise InvalidRequestError(place, no_such("offer", offer_id, known["offers"]))
    for metric in experiment.metrics:
        for unknown in metric.offers.unknown_names(known):
            place = f"metric {metric.name}, offers.{unknown.key}.{unknown.at}"
            raise InvalidRequestError(
                place, no_such(_SINGULAR[unknown.key], unknown.name, known[unknown.key])
            )


def _check_placements(experiment: Experiment, policies: Mapping[str | None, Policy]) -> None:
    """Every placement of the experiment is one of each arm's policy."""
    for number, name in enumerate(experiment.placements):
        for arm in experiment.arms:
            known = placements_of(policies.get(arm.policy_version, Policy()))
            if name not in known:
                policy = arm.policy_version or "in force"
                raise InvalidRequestError(
                    f"placements.{number}", f"{no_such('placement', name, known)} (policy {policy})"
                )


def _targeting(experiment: Experiment, policy: Policy, catalogue: CompiledCatalogue) -> ConditionSet | None:
    """The condition on clients, compiled; None = everybody."""
    if experiment.targeting is None:
        return None
    try:
        return ConditionSet([experiment.targeting], policy.engagement.segments, catalogue)
    except ConfigError as error:
        raise InvalidRequestError("targeting", str(error)) from error


def _shared(
    around: Surroundings, experiment: Experiment, policies: Iterable[Policy], catalogue: CompiledCatalogue
) -> Iterator[str]:
    """What the arms, or this experiment and others, take from each other."""
    caps = [cap for policy in policies for cap in policy.engagement.volume_caps]
    unused = unused_caps(around.store, caps, catalogue.offers, around.now)
    capacities = capacities_of_caps(caps, catalogue.offers, unused)
    for shared in shared_capacities(experiment, around.running, capacities):
        yield shared.told(Language.EN)


def _too_few(around: Surroundings, experiment: Experiment) -> Iterator[str]:
    """Whether there are clients enough for the plan; what targeting leaves out comes on top."""
    if experiment.planned_units is None:
        return
    low, high = experiment.layer_range if experiment.layer is not None else (0.0, 1.0)
    n_clients = around.store.count_keys("clients")
    n_most = n_clients * experiment.coverage * (high - low) * (1 - around.holdout.share)
    if n_most < experiment.planned_units:
        yield (
            f"planned_units: of the planned {experiment.planned_units:,} at most about {n_most:,.0f} enter:"
            f" {n_clients:,} clients, coverage {experiment.coverage:.0%}, layer {high - low:.0%},"
            f" hold-out {around.holdout.share:.0%}; plan fewer, or widen the coverage"
        )
