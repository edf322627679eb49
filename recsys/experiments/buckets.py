"""Who belongs to which part of an experiment, by the rules of GrowthBook's specification.

An id's share (see `hashing`) falls into one of the arms' ranges [low, high) or between them. The ranges of
arms with weights w₁ … wₙ at coverage c are [Σ_{j<i} wⱼ, Σ_{j<i} wⱼ + c·wᵢ): as c grows every range grows at
its upper end only, so nobody who is in changes arm.

Source:
    GrowthBook, Build Your Own SDK, specification 0.8.0: ``getEqualWeights``, ``getBucketRanges``,
    ``chooseVariation``, ``inNamespace``, ``getQueryStringOverride``, ``run``, sticky bucketing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from recsys.experiments.hashing import N_STEPS, Share, hash_share

Range = tuple[float, float]
"""low ≤ share < high."""

KeptArms = Mapping[str, Mapping[str, str]]
"""``attribute||id`` → ``experiment__version`` → name of the arm that the id was given before."""

_LEAST_SUM, _MOST_SUM = 0.99, 1.01


def equal_weights(n_arms: int) -> list[float]:
    """The same weight for every arm.

    Example:
        >>> equal_weights(4), equal_weights(-1)
        ([0.25, 0.25, 0.25, 0.25], [])
    """
    return [1 / n_arms] * n_arms if n_arms > 0 else []


def bucket_ranges(
    n_arms: int, coverage: float | None = None, weights: Sequence[float] | None = None
) -> list[Range]:
    """The range of each arm.

    Args:
        n_arms: Number of arms.
        coverage: Share of each arm's range that is used, taken into 0–1; None = 1.
        weights: Of the arms. Where they are missing, are not one for each arm, or do not sum to 0.99–1.01,
            all are equal.

    Example:
        >>> bucket_ranges(2, 0.5), bucket_ranges(2, 1, [0.4, 0.1])
        ([(0, 0.25), (0.5, 0.75)], [(0, 0.5), (0.5, 1.0)])
    """
    used = 1 if coverage is None else min(max(coverage, 0), 1)
    if weights is None or len(weights) != n_arms or not _LEAST_SUM <= sum(weights) <= _MOST_SUM:
        weights = equal_weights(n_arms)
    ranges: list[Range] = []
    low: float = 0
    for weight in weights:
        ranges.append((low, low + used * weight))
        low += weight
    return ranges


def choose(share: float, ranges: Sequence[Range]) -> int:
    """The first range that a share falls into; −1 = none.

    Example:
        >>> choose(0.5, [(0, 0.5), (0.5, 1)]), choose(0.3, [(0, 0.25), (0.5, 0.75)])
        (1, -1)
    """
    for number, (low, high) in enumerate(ranges):
        if low <= share < high:
            return number
    return -1


class Namespace(NamedTuple):
    """Part of a namespace; experiments in disjoint parts have nobody in common.

    Attributes:
        name: Of the namespace.
        low: Begin of the part.
        high: Its end, excluded.
    """

    name: str
    low: float
    high: float


def in_namespace(value: str, namespace: Namespace) -> bool:
    """Whether an id belongs to a part of a namespace.

    Example:
        >>> in_namespace("1", Namespace("namespace1", 0.4, 1))
        True
    """
    share = hash_share(f"__{namespace.name}", value, 1)
    return share is not None and namespace.low <= share < namespace.high


def in_rollout(share: float, coverage: float | None = None, ends: Range | None = None) -> bool:
    """Whether a share belongs to what is given to everyone up to a coverage, which belongs to it.

    Args:
        share: Of an id.
        coverage: Up to which share, 0 = nobody; None = everybody.
        ends: A range that is asked instead.

    Example:
        >>> in_rollout(0.5, 0.5), in_rollout(0.0, 0.0), in_rollout(0.5, 0.1, (0.4, 0.6))
        (True, False, True)
    """
    if ends is not None:
        return ends[0] <= share < ends[1]
    return coverage is None or (coverage != 0 and share <= coverage)


def arm_in_query(key: str, url: str, n_arms: int) -> int | None:
    """The arm that a URL asks for, to try it out: ``?key=1``.

    Args:
        key: The experiment.
        url: Any text.
        n_arms: Number of arms.

    Returns:
        0 … n_arms − 1; None where the URL does not say so with a plain whole number.

    Example:
        >>> arm_in_query("my-test", "https://portal.example/?a=b&my-test=1#top", 2)
        1
        >>> arm_in_query("my-test", "https://portal.example/?my-test=2", 2) is None
        True
    """
    try:
        query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    except ValueError:  # no URL
        return None
    asked = next((value for name, value in query if name == key), "")
    # a longer number than that names no arm
    number = int(asked) if re.fullmatch(r"[0-9]{1,9}", asked) else n_arms
    return number if number < n_arms else None


@dataclass(frozen=True, slots=True)
class Filter:
    """Only ids whose share lies in one of the ranges.

    Attributes:
        seed: Of the share.
        ranges: Any of them will do.
        hash_version: Of the share.
        attribute: Whose id.
    """

    seed: str
    ranges: tuple[Range, ...]
    hash_version: int = 2
    attribute: str = "id"

    def lets_in(self, ids: Mapping[str, str]) -> bool:
        """Whether whoever has these ids passes; without the one that is asked for nobody does."""
        value = ids.get(self.attribute)
        share = hash_share(self.seed, value, self.hash_version) if value else None
        return share is not None and choose(share, self.ranges) >= 0


@dataclass(frozen=True, slots=True)
class Trial:
    """What the assignment of an experiment rests on.

    Attributes:
        key: Name of the experiment.
        ranges: One for each arm; see `bucket_ranges`.
        seed: Of the shares; empty = the key.
        hash_version: Of the shares; one that does not exist lets nobody in.
        attribute: Whose id is hashed.
        fallback_attribute: Whose id is hashed where that one is missing and arms are kept.
        filters: All of them must let in; None = none stand, and the namespace is asked.
        namespace: Part of a namespace.
        force: The arm of everyone who is in.
        is_active: Whether anyone is let in.
        names: Of the arms, for arms that are kept.
        is_kept: Whether an arm that was given before is given again.
        version: Arms are kept within a version.
        least_version: Whoever was given an arm under an earlier version is out.
    """

    key: str
    ranges: tuple[Range, ...]
    seed: str = ""
    hash_version: int = 2
    attribute: str = "id"
    fallback_attribute: str | None = None
    filters: tuple[Filter, ...] | None = None
    namespace: Namespace | None = None
    force: int | None = None
    is_active: bool = True
    names: tuple[str, ...] = ()
    is_kept: bool = True
    version: int = 0
    least_version: int = 0


class Bucketed(NamedTuple):
    """Where an id went.

    Attributes:
        arm: Number of the arm; −1 = not in the experiment.
        share: Its share; None where it did not decide.
        is_kept: Whether an arm that was given before decided.
        attribute: Whose id it was.
        value: The id.
    """

    arm: int
    share: float | None = None
    is_kept: bool = False
    attribute: str = ""
    value: str = ""


_OUT = Bucketed(-1)
_TOO_EARLY = -2


class Buckets:
    """A trial, ready to put ids into its arms.

    Args:
        trial: The trial.

    Example:
        >>> buckets = Buckets(Trial("my-test", tuple(bucket_ranges(2)), hash_version=1))
        >>> [buckets.of({"id": name}).arm for name in "123"]
        [1, 0, 0]
    """

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        is_open = trial.is_active and len(trial.ranges) > 1 and trial.hash_version in N_STEPS
        # without a hash nobody is let in
        self._share = Share(trial.seed or trial.key, trial.hash_version) if is_open else None

    def of(
        self,
        ids: Mapping[str, str],
        kept: KeptArms | None = None,
        forced: int | None = None,
        is_admitted: bool = True,
    ) -> Bucketed:
        """The arm of whoever has these ids.

        Args:
            ids: By attribute; an empty one is missing.
            kept: What was given before; None = nothing is kept.
            forced: Only for trying out: the arm, whatever else is said.
            is_admitted: Whether the targeting holds.
        """
        if forced is not None:
            return self._told(forced)
        trial = self.trial
        attribute, value = self._id_of(ids, is_kept=kept is not None)
        if self._share is None or not value:
            return _OUT
        before = -1 if kept is None or not trial.is_kept else self._arm_before(ids, kept)
        if before == _TOO_EARLY:
            return Bucketed(-1, is_kept=True)
        if before < 0 and not (is_admitted and self._lets_in(ids, value)):
            return _OUT
        share = self._share.of(value)
        arm = choose(share, trial.ranges) if before < 0 else before
        if arm >= 0 and trial.force is not None:
            return self._told(trial.force)
        return Bucketed(arm, share, before >= 0, attribute, value) if arm >= 0 else _OUT

    def remembered(self, found: Bucketed, kept: KeptArms) -> KeptArms:
        """What is kept from now on."""
        trial = self.trial
        if found.share is None or not trial.is_kept:
            return kept
        name = trial.names[found.arm] if trial.names else str(found.arm)
        place = f"{found.attribute}||{found.value}"
        return {**kept, place: {**kept.get(place, {}), f"{trial.key}__{trial.version}": name}}

    def _id_of(self, ids: Mapping[str, str], is_kept: bool) -> tuple[str, str]:
        """Attribute and id that are hashed."""
        trial = self.trial
        value = ids.get(trial.attribute)
        if not value and trial.fallback_attribute and is_kept and trial.is_kept:
            return trial.fallback_attribute, ids.get(trial.fallback_attribute) or ""
        return trial.attribute, value or ""

    def _told(self, arm: int) -> Bucketed:
        n_arms = len(self.trial.ranges)
        return Bucketed(arm) if 0 <= arm < n_arms > 1 else _OUT

    def _arm_before(self, ids: Mapping[str, str], kept: KeptArms) -> int:
        """The arm that was given before; −1 = none was."""
        trial = self.trial
        given = self._given(ids, kept)
        if any(f"{trial.key}__{version}" in given for version in range(trial.least_version)):
            return _TOO_EARLY
        name = given.get(f"{trial.key}__{trial.version}")
        return trial.names.index(name) if name in trial.names else -1

    def _given(self, ids: Mapping[str, str], kept: KeptArms) -> dict[str, str]:
        """What was given before; the id that is hashed outdoes the one that stands in for it."""
        given: dict[str, str] = {}
        for attribute in (self.trial.fallback_attribute, self.trial.attribute):
            if attribute and ids.get(attribute):
                given.update(kept.get(f"{attribute}||{ids[attribute]}", {}))
        return given

    def _lets_in(self, ids: Mapping[str, str], value: str) -> bool:
        trial = self.trial
        if trial.filters is not None:
            return all(each.lets_in(ids) for each in trial.filters)
        return trial.namespace is None or in_namespace(value, trial.namespace)
