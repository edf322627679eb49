"""Whether the units that an experiment forces into an arm are there and would have been asked anyway."""

from __future__ import annotations

from collections.abc import Iterator

from recsys.decision.conditions.compile import ConditionSet
from recsys.decision.conditions.facts import Moment
from recsys.domain import ClientState
from recsys.experiments.assignment import Assigner, plain_id, unit_of
from recsys.experiments.experiment import Experiment, Unit
from recsys.experiments.life import draft
from serving.ports import Store

_CLIENTS_AT_ONCE = 1_000


def forced_doubts(
    store: Store, experiment: Experiment, targeting: ConditionSet | None, moment: Moment
) -> Iterator[str]:
    """What should be looked at of the forced ids, one sentence for each; reads every client if there are any.

    Args:
        store: Where the clients live.
        experiment: The document.
        targeting: Its condition, compiled; None = everybody.
        moment: The present one.
    """
    if not experiment.forced:
        return
    members: dict[str, list[ClientState]] = {forced: [] for forced in experiment.forced}
    groups: dict[str, str] = {}
    for state in _clients(store):
        group = None if state.profile is None else state.profile.account_group_id
        unit = plain_id(unit_of(state.client_id, group, experiment.unit))
        if unit in members:
            members[unit].append(state)
        if group and experiment.unit is Unit.GROUP and state.client_id in members:
            groups[state.client_id] = group
    for forced, states in members.items():
        if not states:
            yield f"forced.{forced}: {_nobody(groups.get(forced), experiment.unit)}"
        elif outside := _outside(experiment, states, targeting, moment):
            yield (
                f"forced.{forced}: lies outside of {outside} and sees its arm all the same, unless another"
                " running experiment that needs the same part has it"
            )


def _nobody(group: str | None, unit: Unit) -> str:
    if group is not None:
        return f"is a client of account group {group!r}, which is assigned as a whole; write {group!r}"
    units = "account group or client without one" if unit is Unit.GROUP else "client"
    return f"no {units} of this id is stored, so nobody is forced; correct it or remove it"


def _outside(
    experiment: Experiment, states: list[ClientState], targeting: ConditionSet | None, moment: Moment
) -> str:
    """Outside of which of its bounds a unit lies; empty = of none."""
    # At full coverage only the part of the layer keeps a unit out.
    everybody = experiment.model_copy(update={"forced": {}, "coverage": 1.0})
    group = None if states[0].profile is None else states[0].profile.account_group_id
    unit_id = unit_of(states[0].client_id, group, experiment.unit)
    bounds = []
    if Assigner(draft(everybody)).arm_of(unit_id) < 0:
        bounds.append("the experiment's part of its layer")
    if targeting is not None and not targeting.evaluate(states, moment).is_true[0].any():
        bounds.append("its targeting")
    return " and ".join(bounds)


def _clients(store: Store) -> Iterator[ClientState]:
    after = ""
    while states := store.client_states(after, _CLIENTS_AT_ONCE):
        after = states[-1].client_id
        yield from states
