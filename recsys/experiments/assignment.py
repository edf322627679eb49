"""Which arm a client belongs to.

A client is assigned by its unit: the account group where there is one, else itself. The hash of the unit
alone decides (see `buckets`): the same in every process, without storage.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.experiments.buckets import Buckets, Filter, Range, Trial, bucket_ranges
from recsys.experiments.experiment import Holdout, Unit
from recsys.experiments.hashing import N_STEPS, Ids, Share, hash_share
from recsys.experiments.life import Standing

ArmArray = NDArray[np.int8]
"""Number of an arm; −1 = in none."""

_LAYER_MARK = "__"
_GROUP_MARK, _CLIENT_MARK = _MARKS = ("group:", "client:")
_UNIT = "unit"


def unit_of(client_id: str, account_group_id: str | None, unit: Unit) -> str:
    """Id of what a client is assigned with; a group and a client with the same id are two units.

    Example:
        >>> unit_of("c1", "g7", Unit.GROUP), unit_of("c1", None, Unit.GROUP), unit_of("c1", "g7", Unit.CLIENT)
        ('group:g7', 'c1', 'c1')
        >>> unit_of("group:g7", None, Unit.GROUP)
        'client:group:g7'
    """
    if unit is Unit.GROUP and account_group_id:
        return _GROUP_MARK + account_group_id
    return _CLIENT_MARK + client_id if client_id.startswith(_MARKS) else client_id


def plain_id(unit_id: str) -> str:
    """Id of the group or of the client that a unit is, as documents name it; undoes `unit_of`.

    Example:
        >>> plain_id("group:g7"), plain_id("c1"), plain_id("client:group:g7")
        ('g7', 'c1', 'group:g7')
    """
    return unit_id.partition(":")[2] if unit_id.startswith(_MARKS) else unit_id


def is_held_out(holdout: Holdout, unit_id: str) -> bool:
    """Whether a unit belongs to the hold-out; as its share grows nobody leaves it.

    Example:
        >>> [is_held_out(Holdout(share=share), "c1") for share in (0.0, 0.5)]
        [False, True]
    """
    share = hash_share(holdout.salt, unit_id)
    return share is not None and share < holdout.share


def trial_of(standing: Standing) -> Trial:
    """What the assignment of an experiment rests on."""
    experiment = standing.experiment
    # the mark keeps the draw of a layer apart from those of experiments
    seed = f"{_LAYER_MARK}{experiment.layer}"
    filters = (Filter(seed, (experiment.layer_range,), attribute=_UNIT),) if experiment.layer else ()
    return Trial(
        key=experiment.experiment_id,
        ranges=tuple(bucket_ranges(len(experiment.arms), standing.coverage, experiment.weights)),
        seed=standing.seed,
        hash_version=experiment.hash_version,
        attribute=_UNIT,
        filters=filters,
        names=tuple(arm.name for arm in experiment.arms),
    )


class Assigner:
    """An experiment, ready to assign by the hash; status, targeting and hold-out are asked elsewhere.

    It says what `Buckets` says of the same trial.

    Args:
        standing: The experiment.
    """

    __slots__ = ("_filters", "_forced", "_own")

    def __init__(self, standing: Standing) -> None:
        trial = trial_of(standing)
        self._own = _Draw(trial.seed, trial.hash_version, trial.ranges)
        self._filters = _filters_of(trial)
        forced = standing.experiment.forced.items()
        self._forced = {unit_id: trial.names.index(name) for unit_id, name in forced}

    def arm_of(self, unit_id: str) -> int:
        """Number of a unit's arm; −1 = not in the experiment."""
        if self._forced and (forced := self._forced.get(plain_id(unit_id))) is not None:
            return forced
        for draw in self._filters:
            if draw.arm_of(unit_id) < 0:
                return -1
        return self._own.arm_of(unit_id)

    def arms_of(self, unit_ids: Sequence[str]) -> ArmArray:
        """The same for many units at once.

        Returns:
            Shape (n_units,).
        """
        ids = Ids(unit_ids)
        arms = self._own.arms_of(ids)
        for draw in self._filters:
            arms[draw.arms_of(ids) < 0] = -1
        if self._forced:
            for place, unit_id in enumerate(unit_ids):
                arms[place] = self._forced.get(plain_id(unit_id), arms[place])
        return arms


class _Draw:
    """Into which of some ranges ids fall.

    There are few different shares, so the range of each stands in a table.

    Args:
        seed: Of the shares.
        version: Of the hash.
        ranges: The ranges.
    """

    __slots__ = ("_share", "_table", "arms")

    def __init__(self, seed: str, version: int, ranges: Sequence[Range]) -> None:
        self._share = Share(seed, version)
        self.arms = _arms_by_step(version, ranges)
        self._table: list[int] = self.arms.tolist()

    def arm_of(self, value: str) -> int:
        """Number of the range; −1 = none."""
        return self._table[self._share.step_of(value)]

    def arms_of(self, ids: Ids) -> ArmArray:
        """The same for many ids, shape (n_ids,)."""
        return self.arms[ids.steps(self._share.seed, self._share.version)]


def assign(standing: Standing, unit_id: str) -> int:
    """Number of a unit's arm; −1 = not in the experiment; see `Assigner` for many questions.

    Example:
        >>> from recsys.experiments.experiment import read_experiment
        >>> text = '''{experiment_id: faq, title: t, hypothesis: h, owner: o, minimum_effect: 0.1,
        ...   primary: {name: taken, measure: activations},
        ...   arms: [{name: control, weight: 0.5}, {name: short, weight: 0.5}]}'''
        >>> standing = Standing(experiment=read_experiment(text, "faq.yaml"))
        >>> [assign(standing, unit) for unit in ("c1", "c2", "c3")]
        [1, 1, 0]
    """
    trial, forced = trial_of(standing), standing.experiment.forced.get(plain_id(unit_id))
    arm = None if forced is None else trial.names.index(forced)
    return Buckets(trial).of({_UNIT: unit_id}, forced=arm).arm


def assign_all(standing: Standing, unit_ids: Sequence[str]) -> ArmArray:
    """Arms of many units, shape (n_units,); −1 = not in the experiment."""
    return Assigner(standing).arms_of(unit_ids)


def assignments_of(standing: Standing, salts: Sequence[str], unit_ids: Sequence[str]) -> ArmArray:
    """The arms that the same units would have had under other salts, for a randomisation test.

    They are those at full coverage: whoever is in has the arm it would have there.

    Args:
        standing: The experiment.
        salts: The seeds, such as its admissible ones.
        unit_ids: The units.

    Returns:
        n_salts_by_units; −1 only outside of the experiment's part of its layer.
    """
    ids = Ids(unit_ids)
    trial = trial_of(standing.model_copy(update={"coverage": 1.0}))
    by_step = _arms_by_step(trial.hash_version, trial.ranges)
    arms = np.empty((len(salts), len(ids)), dtype=np.int8)
    for row, salt in enumerate(salts):
        arms[row] = by_step[ids.steps(salt, trial.hash_version)]
    for draw in _filters_of(trial):
        arms[:, draw.arms_of(ids) < 0] = -1
    return arms


def _filters_of(trial: Trial) -> list[_Draw]:
    return [_Draw(each.seed, each.hash_version, each.ranges) for each in trial.filters or ()]


def _arms_by_step(version: int, ranges: Sequence[Range]) -> ArmArray:
    """`buckets.choose` for every share that there is, shape (n_steps,)."""
    shares = np.arange(N_STEPS[version]) / N_STEPS[version]
    arms = np.full(len(shares), -1, dtype=np.int8)
    for number, (low, high) in reversed(list(enumerate(ranges))):
        arms[(shares >= low) & (shares < high)] = number
    return arms
