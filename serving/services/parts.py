"""What the arms of experiments decide with, and which experiments cannot have the same clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from recsys.decision.policy.wording import Wording
from recsys.experiments.experiment import Arm, Experiment
from recsys.experiments.life import Standing


class Parts(NamedTuple):
    """What an arm decides with instead of what is in force; None and nothing = what is in force.

    Attributes:
        policy: Version of a policy.
        bundle: Version of a bundle.
        texts: Titles shown instead, by offer_id.
    """

    policy: str | None = None
    bundle: str | None = None
    texts: tuple[tuple[str, Wording], ...] = ()

    def with_parts(self, other: Parts) -> Parts:
        """Both together; of a version that both name the first one counts."""
        return Parts(self.policy or other.policy, self.bundle or other.bundle, self.texts + other.texts)


def parts_of(arm: Arm) -> Parts:
    """What an arm says it decides with."""
    return Parts(arm.policy_version, arm.bundle_version, tuple(sorted(arm.texts.items())))


def touched_by(experiment: Experiment) -> Mapping[str, str]:
    """What an experiment needs for itself among those who are in it: name of the part → in words.

    A version that all of its arms name is held still, not compared: others may compare it.

    Example:
        >>> arms = [{"name": "now", "weight": 0.5}, {"name": "new", "weight": 0.5, "policy_version": "ab12"}]
        >>> primary = {"name": "taken", "measure": "activations"}
        >>> texts = dict.fromkeys(("experiment_id", "title", "hypothesis", "owner"), "x")
        >>> touched_by(Experiment(**texts, arms=arms, primary=primary, minimum_effect=0.1))
        {'policy': 'the policy'}
    """
    found: dict[str, str] = {}
    if len({arm.policy_version for arm in experiment.arms}) > 1:
        found["policy"] = "the policy"
    if len({arm.bundle_version for arm in experiment.arms}) > 1:
        found["bundle"] = "the models"
    for arm in experiment.arms:
        found.update({f"title {offer_id}": f"the title of {offer_id!r}" for offer_id in arm.texts})
    if experiment.layer is not None:
        found[f"layer {experiment.layer}"] = f"layer {experiment.layer!r}"
    return found


def clashes(experiment: Experiment, running: Iterable[Standing]) -> tuple[str, ...]:
    """A sentence for each running experiment whose clients this one cannot have.

    Args:
        experiment: What is to be started.
        running: What runs already.
    """
    own = touched_by(experiment)
    found = []
    for standing in running:
        other = standing.experiment
        both = [own[part] for part in touched_by(other) if part in own]
        if both and other.experiment_id != experiment.experiment_id:
            found.append(
                f"experiment {other.experiment_id!r} runs already and takes {' and '.join(both)} too: clients"
                " who are in it are not in this one"
            )
    return tuple(found)
