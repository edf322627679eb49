"""Which experiments run, and in which arm of which a client is: what a request looks up, ready made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from recsys.decision.catalogue import OfferText
from recsys.decision.conditions.compile import ConditionSet
from recsys.decision.conditions.facts import Moment
from recsys.decision.engine import Engine
from recsys.decision.policy.wording import Wording
from recsys.decision.volume import VolumeCaps
from recsys.domain import ClientState, Language, Profile
from recsys.experiments.assignment import Assigner, is_held_out, plain_id, unit_of
from recsys.experiments.experiment import HOLDOUT_ID, Experiment, Holdout, Unit
from recsys.experiments.holdout import HELD_OUT, TREATED
from recsys.experiments.life import Standing
from serving.orders import Assignment
from serving.services.parts import Parts

if TYPE_CHECKING:  # the world holds the experiments that run in it
    from serving.services.world import Ranking, World


class Stored(NamedTuple):
    """What is stored of a client in an experiment.

    Attributes:
        own: Its arm; None = it has none yet.
        of_unit: The arm in which the first client of its account group came to be; None = none did.
    """

    own: Assignment | None = None
    of_unit: Assignment | None = None


@dataclass(frozen=True, slots=True)
class LiveExperiment:
    """A running experiment, ready for requests.

    Attributes:
        standing: How it stands.
        assigner: Draws the arm of a unit.
        parts: What each arm decides with; nothing where what it asks for could not be had.
        faults: Why not, by arm; None = it could.
        placement_ids: The placements that every arm has.
        targeting: The condition on clients; None = everybody.
        is_open: Whether it takes clients that are not in it: not where the condition cannot be read.
        touched: The parts that it needs for itself; see `touched_by`.
        is_same: Whether it compares what is the same on purpose (an A/A test).
    """

    standing: Standing
    assigner: Assigner
    parts: tuple[Parts, ...]
    faults: tuple[str | None, ...]
    placement_ids: frozenset[str]
    targeting: ConditionSet | None
    is_open: bool
    touched: frozenset[str]
    is_same: bool

    @property
    def experiment(self) -> Experiment:
        """The document."""
        return self.standing.experiment

    def compared(self, number: int) -> Parts:
        """What an arm decides with that another arm does not."""
        own = self.parts[number]
        policy, bundle = (part in self.touched for part in ("policy", "bundle"))
        return Parts(own.policy if policy else None, own.bundle if bundle else None, own.texts)

    def enrolment(self, unit_id: str, stored: Stored, state: ClientState, moment: Moment) -> Enrolment | None:
        """The arm of a client; None = it is not in.

        Who was in before keeps its arm, forced or not: what a client was shown is what it is analysed by.

        Args:
            unit_id: What it would be assigned with.
            stored: What is stored of it and of its unit.
            state: The client.
            moment: When, and through which channel.
        """
        number = self._arm_of(unit_id, stored, state, moment)
        if number < 0:
            return None
        experiment, kept = self.experiment, stored.own
        arm = experiment.arms[number].name
        if kept is not None:
            is_forced = kept.is_forced
            return Enrolment(experiment.experiment_id, arm, kept.unit_id, kept, is_forced, self, number)
        is_forced = plain_id(unit_id) in experiment.forced
        return Enrolment(experiment.experiment_id, arm, unit_id, None, is_forced, self, number)

    def _arm_of(self, unit_id: str, stored: Stored, state: ClientState, moment: Moment) -> int:
        if stored.own is not None:
            return self._number_of(stored.own.arm)
        if plain_id(unit_id) not in self.experiment.forced:
            if not self.is_open:
                return -1
            if self.targeting is not None and not self.targeting.evaluate([state], moment).is_true[0, 0]:
                return -1
        if stored.of_unit is not None and stored.of_unit.unit_id == unit_id:
            return self._number_of(stored.of_unit.arm)
        return self.assigner.arm_of(unit_id)

    def _number_of(self, arm: str) -> int:
        names = [each.name for each in self.experiment.arms]
        return names.index(arm) if arm in names else -1

    def has_request(self, placement_ids: Sequence[str]) -> bool:
        """Whether it speaks of these placements, and every arm has them; none at all = no list is asked."""
        wanted = self.experiment.placements
        is_meant = not wanted or not placement_ids or any(name in wanted for name in placement_ids)
        return is_meant and self.placement_ids.issuperset(placement_ids)


class Enrolment(NamedTuple):
    """A client in an arm.

    Attributes:
        experiment_id: The experiment, or the hold-out.
        arm: Name of the arm.
        unit_id: What was assigned.
        kept: What is stored of it; None = nothing yet.
        is_forced: Whether it was put there by hand.
        trial: The experiment; None for the hold-out.
        number: Number of the arm.
    """

    experiment_id: str
    arm: str
    unit_id: str
    kept: Assignment | None
    is_forced: bool = False
    trial: LiveExperiment | None = None
    number: int = 0

    @property
    def is_held_out(self) -> bool:
        """Whether it is held out."""
        return self.trial is None and self.arm == HELD_OUT

    @property
    def parts(self) -> Parts:
        """What its arm decides with."""
        return Parts() if self.trial is None else self.trial.parts[self.number]

    @property
    def compared(self) -> Parts:
        """What of it another arm does not decide with."""
        return Parts() if self.trial is None else self.trial.compared(self.number)

    @property
    def fault(self) -> str | None:
        """Why its arm is decided by what is in force."""
        return None if self.trial is None else self.trial.faults[self.number]


class Equipment(NamedTuple):
    """What arms decide with, compiled.

    Attributes:
        engines: By version of the policy, with the policy's caps over all clients.
        rankings: By version of the bundle.
    """

    engines: Mapping[str, tuple[Engine, VolumeCaps]]
    rankings: Mapping[str, Ranking]


class Trials:
    """The experiments that run beside one world.

    Args:
        running: The experiments, in the order of their start.
        holdout: The hold-out; None = nobody is held out.
        base: What is in force.
        equipment: What the arms need besides.
    """

    def __init__(
        self, running: Sequence[LiveExperiment], holdout: Holdout | None, base: World, equipment: Equipment
    ) -> None:
        self.running = tuple(running)
        self.holdout = holdout
        self._equipment = equipment
        self._base = base
        self._variant = replace(base, base=base)
        self._worlds: dict[Parts, World] = {Parts(): base}
        # To hash many titles takes longer than to decide.
        self._by_arms: dict[tuple[tuple[str, int], ...], World] = {}

    def unit_to_ask(self, profile: Profile | None, kept: Iterable[Assignment]) -> str | None:
        """The account group whose stored arms a client shares that has none of its own; None = none.

        Args:
            profile: The client's.
            kept: What is stored of the client.
        """
        if profile is None or not profile.is_profiling_allowed or not profile.account_group_id:
            return None
        known = {each.experiment_id: each.arm for each in kept}
        if self.holdout is not None and known.get(HOLDOUT_ID) == HELD_OUT:
            return None
        units = {} if self.holdout is None else {HOLDOUT_ID: self.holdout.unit}
        units |= {each.experiment.experiment_id: each.experiment.unit for each in self.running}
        if all(name in known or unit is Unit.CLIENT for name, unit in units.items()):
            return None
        return unit_of("", profile.account_group_id, Unit.GROUP)

    def enrol(
        self,
        state: ClientState,
        placement_ids: Sequence[str],
        kept: Iterable[Assignment],
        moment: Moment,
        of_unit: Sequence[Assignment] = (),
    ) -> tuple[Enrolment, ...]:
        """The arms of a client, that of the hold-out first.

        Who is held out is in no experiment, and who switched profiling off in nothing at all. Of experiments
        that need the same part only one has the client: one that had it or its unit before, else the one
        that was started first.

        Args:
            state: The client.
            placement_ids: The lists asked for.
            kept: What is stored of the client.
            moment: When, and through which channel.
            of_unit: What is stored of the clients of `unit_to_ask`, the earliest first.
        """
        profile = state.profile
        if profile is not None and not profile.is_profiling_allowed:
            return ()
        group = None if profile is None else profile.account_group_id
        known = _stored(kept, of_unit)
        enrolled: list[Enrolment] = []
        if self.holdout is not None:
            unit_id = unit_of(state.client_id, group, self.holdout.unit)
            enrolled.append(self._hold_out(self.holdout, unit_id, known.get(HOLDOUT_ID, Stored())))
            if enrolled[0].is_held_out:
                return tuple(enrolled)
        found: dict[str, Enrolment] = {}
        taken: set[str] = set()
        for trial in sorted(self.running, key=lambda each: each.experiment.experiment_id not in known):
            if not taken.isdisjoint(trial.touched) or not trial.has_request(placement_ids):
                continue
            experiment_id = trial.experiment.experiment_id
            unit_id = unit_of(state.client_id, group, trial.experiment.unit)
            one = trial.enrolment(unit_id, known.get(experiment_id, Stored()), state, moment)
            if one is not None:
                taken |= trial.touched
                found[experiment_id] = one
        in_order = [each.experiment.experiment_id for each in self.running]
        return (*enrolled, *[found[experiment_id] for experiment_id in in_order if experiment_id in found])

    @staticmethod
    def _hold_out(holdout: Holdout, unit_id: str, stored: Stored) -> Enrolment:
        kept, other = stored
        if kept is not None and kept.arm in (HELD_OUT, TREATED):
            return Enrolment(HOLDOUT_ID, kept.arm, kept.unit_id, kept)
        if other is not None and other.unit_id == unit_id and other.arm in (HELD_OUT, TREATED):
            return Enrolment(HOLDOUT_ID, other.arm, unit_id, kept)
        arm = HELD_OUT if is_held_out(holdout, unit_id) else TREATED
        return Enrolment(HOLDOUT_ID, arm, unit_id, kept)

    def world_of(self, enrolments: Sequence[Enrolment]) -> World:
        """What decides for a client who is in these arms."""
        key = tuple([(each.experiment_id, each.number) for each in enrolments])
        world = self._by_arms.get(key)
        if world is None:
            parts = self._parts_of(enrolments)
            if parts not in self._worlds:
                self._worlds[parts] = self._put_together(parts)
            world = self._by_arms[key] = self._worlds[parts]
        return world

    def _parts_of(self, enrolments: Sequence[Enrolment]) -> Parts:
        """What arms decide with together; nothing where that is what is in force."""
        parts = Parts()
        for each in enrolments:
            parts = parts.with_parts(each.compared)
        # what one experiment holds still gives way to what another one compares
        for each in enrolments:
            parts = parts.with_parts(each.parts._replace(texts=()))
        policy = None if parts.policy == self._base.policy_version else parts.policy
        bundle = None if parts.bundle == self._base.bundle_version else parts.bundle
        return Parts(policy, bundle, parts.texts)

    def worlds_beside(self, enrolments: Sequence[Enrolment], place: int) -> Iterator[World]:
        """What would decide if the client were in another arm of one of its experiments.

        Args:
            enrolments: The client's arms.
            place: Which of them would be another one.
        """
        own = enrolments[place]
        for number in range(0 if own.trial is None else len(own.trial.parts)):
            if number != own.number:
                other = own._replace(number=number)
                yield self.world_of((*enrolments[:place], other, *enrolments[place + 1 :]))

    def _put_together(self, parts: Parts) -> World:
        world = self._variant
        if parts.policy is not None:
            engine, volume_caps = self._equipment.engines[parts.policy]
            world = replace(world, engine=engine, volume_caps=volume_caps)
        if parts.bundle is not None:
            world = replace(world, ranking=self._equipment.rankings[parts.bundle])
        if parts.texts:
            world = replace(world, texts=_retitled(world, dict(parts.texts)))
        return world

    @property
    def faults(self) -> tuple[str, ...]:
        """One sentence for each arm that lacks what it asks for."""
        return tuple(
            f"experiment {trial.experiment.experiment_id}, arm {arm.name}: {fault} cannot be had, what is in"
            " force decides (the log says why)"
            for trial in self.running
            for arm, fault in zip(trial.experiment.arms, trial.faults, strict=True)
            if fault is not None
        )

    @property
    def policies(self) -> Iterable[tuple[Engine, VolumeCaps]]:
        """The policies of arms, compiled, with their caps over all clients."""
        return self._equipment.engines.values()


def _stored(kept: Iterable[Assignment], of_unit: Sequence[Assignment]) -> dict[str, Stored]:
    """What is stored of a client and of its unit, by experiment."""
    found = {each.experiment_id: Stored(None, each) for each in reversed(of_unit)}
    for each in kept:
        found[each.experiment_id] = found.get(each.experiment_id, Stored())._replace(own=each)
    return found


def _retitled(world: World, titles: Mapping[str, Wording]) -> Mapping[Language, tuple[OfferText, ...]]:
    return {
        language: tuple(
            [
                replace(text, title=titles[text.offer_id].in_language(language))
                if text.offer_id in titles
                else text
                for text in texts
            ]
        )
        for language, texts in world.catalogue.texts.items()
    }
