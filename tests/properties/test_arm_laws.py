"""Laws of who is in which arm, for whatever experiments run together."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.facts import Moment
from recsys.decision.engine import Engine
from recsys.decision.policy.policy import Policy
from recsys.decision.volume import VolumeCaps
from recsys.domain import ClientId, ClientState, HoldingsKind, Offer, OfferId, Profile
from recsys.experiments.assignment import Assigner
from recsys.experiments.experiment import HOLDOUT_ID, Experiment, Holdout
from recsys.experiments.life import Standing
from serving.orders import Assignment, ContentVersion
from serving.services.parts import parts_of, touched_by
from serving.services.trials import Enrolment, Equipment, LiveExperiment, Trials
from serving.services.world import Ranking, World

NOW = datetime(2026, 3, 2, tzinfo=UTC)
MOMENT = Moment(NOW)
CATALOGUE = CompiledCatalogue([Offer(OfferId(offer_id)) for offer_id in ("crm", "mail")], "v")
ENGINE = Engine(CATALOGUE, Policy())
CAPS = VolumeCaps((), CATALOGUE, UTC)
RANKING = cast("Ranking", SimpleNamespace(scorer=None))  # nobody is scored here
WORLD = World(
    ContentVersion(1, 1, 1), ENGINE, CAPS, None, HoldingsKind.SUBSCRIPTIONS, RANKING, CATALOGUE.texts
)
VERSIONS = ("a", "b")
EQUIPMENT = Equipment(
    {version: (Engine(CATALOGUE, Policy()), CAPS) for version in VERSIONS},
    {version: cast("Ranking", object()) for version in VERSIONS},
)

changes = st.fixed_dictionaries(
    {},
    optional={
        "policy_version": st.sampled_from(VERSIONS),
        "bundle_version": st.sampled_from(VERSIONS),
        "texts": st.dictionaries(
            st.sampled_from(("crm", "mail")), st.just({"ru": "Другое", "en": "Other"}), min_size=1
        ),
    },
)


def experiment_of(number: int, told: dict[str, Any]) -> Standing:
    arms = [{"name": f"arm-{place}", "weight": 0.5, **each} for place, each in enumerate(told.pop("arms"))]
    primary = {"name": "taken", "measure": "activations"}
    texts = {"title": "t", "hypothesis": "h", "owner": "o", "minimum_effect": 0.1, "primary": primary}
    experiment = Experiment.model_validate({"experiment_id": f"e{number}", "arms": arms, **texts, **told})
    return Standing(experiment=experiment, coverage=experiment.coverage)


experiments = st.lists(
    st.fixed_dictionaries(
        {"arms": st.tuples(changes, changes), "coverage": st.sampled_from((0.3, 0.7, 1.0))},
        optional={"layer": st.just("shop"), "unit": st.sampled_from(("group", "client"))},
    ),
    min_size=1,
    max_size=4,
).map(lambda told: [experiment_of(number, dict(each)) for number, each in enumerate(told)])

clients = st.lists(st.integers(0, 10_000), min_size=1, max_size=12, unique=True).map(
    lambda numbers: [
        ClientState(
            ClientId(f"c-{number}"),
            profile=Profile(account_group_id=f"g-{number % 5}" if number % 2 else None),
        )
        for number in numbers
    ]
)


def trials_of(standings: list[Standing], share: float) -> Trials:
    running = [
        LiveExperiment(
            standing=standing,
            assigner=Assigner(standing),
            parts=tuple(parts_of(arm) for arm in standing.experiment.arms),
            faults=(None, None),
            placement_ids=frozenset(("home",)),
            targeting=None,
            is_open=True,
            touched=frozenset(touched_by(standing.experiment)),
            is_same=False,
        )
        for standing in standings
    ]
    return Trials(running, Holdout(share=share), WORLD, EQUIPMENT)


def kept(enrolments: tuple[Enrolment, ...], client: ClientState) -> list[Assignment]:
    return [
        Assignment(each.experiment_id, client.client_id, each.unit_id, each.arm, NOW) for each in enrolments
    ]


def arms(enrolments: tuple[Enrolment, ...]) -> dict[str, str]:
    return {each.experiment_id: each.arm for each in enrolments}


@given(experiments, clients, st.sampled_from((0.0, 0.3)))
@settings(max_examples=60, deadline=None)
def test_nobody_is_in_two_experiments_that_need_the_same(
    standings: list[Standing], states: list[ClientState], share: float
) -> None:
    trials = trials_of(standings, share)
    for state in states:
        enrolments = trials.enrol(state, ["home"], (), MOMENT)
        assert enrolments[0].experiment_id == HOLDOUT_ID
        if enrolments[0].is_held_out:
            assert len(enrolments) == 1
        touched = [part for each in enrolments if each.trial is not None for part in each.trial.touched]
        assert len(touched) == len(set(touched))
        # what decides is what the arms say, and what is in force where they say nothing
        world = trials.world_of(enrolments)
        said = [*[each.compared for each in enrolments], *[each.parts for each in enrolments]]
        policies = [EQUIPMENT.engines[parts.policy][0] for parts in said if parts.policy is not None]
        rankings = [EQUIPMENT.rankings[parts.bundle] for parts in said if parts.bundle is not None]
        assert world.engine is (policies or [ENGINE])[0]
        assert world.ranking is (rankings or [RANKING])[0]
        assert (world.texts is CATALOGUE.texts) == (not any(parts.texts for parts in said))


@given(experiments, clients, st.data())
@settings(max_examples=60, deadline=None)
def test_who_is_in_stays_in_whatever_happens_around_it(
    standings: list[Standing], states: list[ClientState], data: st.DataObject
) -> None:
    """Ramps, starts and stops of others, another group, a larger hold-out."""
    before = trials_of(standings, 0.1)
    stopped = data.draw(st.sets(st.sampled_from(range(len(standings)))))
    later = [
        standing.model_copy(update={"coverage": 1.0})
        for number, standing in enumerate(standings)
        if number not in stopped
    ]
    started = data.draw(experiments)[0]
    document = started.experiment.model_copy(update={"experiment_id": "newest"})
    after = trials_of([*later, started.model_copy(update={"experiment": document})], 0.4)
    running = {HOLDOUT_ID, *(standing.experiment.experiment_id for standing in later)}
    for state in states:
        first = before.enrol(state, ["home"], (), MOMENT)
        moved = replace(state, profile=Profile(account_group_id="g-new"))
        second = arms(after.enrol(moved, ["home"], kept(first, state), MOMENT))
        assert arms(first).items() & second.items() == {
            (name, arm) for name, arm in arms(first).items() if name in running
        }


@given(experiments, clients)
@settings(max_examples=40, deadline=None)
def test_the_worlds_that_are_compared_are_the_same_whatever_the_arm(
    standings: list[Standing], states: list[ClientState]
) -> None:
    """So that whether an experiment is triggered does not depend on the arm."""
    trials = trials_of(standings, 0.0)
    for state in states:
        enrolments = trials.enrol(state, ["home"], (), MOMENT)
        for place, own in enumerate(enrolments):
            if own.trial is None:
                continue
            other = own._replace(number=1 - own.number)
            swapped = (*enrolments[:place], other, *enrolments[place + 1 :])
            mine = {id(trials.world_of(enrolments)), *map(id, trials.worlds_beside(enrolments, place))}
            theirs = {id(trials.world_of(swapped)), *map(id, trials.worlds_beside(swapped, place))}
            assert mine == theirs
