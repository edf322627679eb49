"""Figures of one process, kept as plain numbers: what a request pays for them is a look into a dictionary."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self

from serving.telemetry.names import METRICS, Kind

Key = tuple[str, ...]
"""Name of a figure, then the values of its labels."""

BOUNDS: Final = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds of a histogram's buckets, in seconds; the last bucket has none."""


@dataclass(slots=True)
class Timing:
    """A histogram.

    Attributes:
        counts: By bucket; not summed up.
        total: Sum of what was observed, in seconds.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, other: Timing) -> None:
        """Add another one's observations."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The figures of a process, or of several, at one moment.

    Attributes:
        counts: Counters.
        times: Histograms.
        gauges: What goes up and down.
        bins: Sampled decisions by what they are compared with: see `serving.services.drift`.
    """

    counts: dict[Key, float] = field(default_factory=dict)
    times: dict[Key, Timing] = field(default_factory=dict)
    gauges: dict[Key, float] = field(default_factory=dict)
    bins: dict[str, list[list[int]]] = field(default_factory=dict)

    def add(self, other: Snapshot, *, is_alive: bool = True) -> None:
        """Add the figures of another process; those of one that ended count, but it has no gauges."""
        for key, n in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + n
        for key, timing in other.times.items():
            self.times.setdefault(key, Timing()).add(timing)
        if not is_alive:
            return
        for key, value in other.gauges.items():
            self.gauges[key] = _merged(METRICS[key[0]].kind, self.gauges.get(key), value)
        for name, rows in other.bins.items():
            before = self.bins.get(name)
            self.bins[name] = rows if before is None else _sum_of(before, rows)

    def to_json(self) -> dict[str, object]:
        """As JSON takes it."""
        return {
            "counts": [[*key, n] for key, n in self.counts.items()],
            "times": [[*key, timing.counts, timing.total] for key, timing in self.times.items()],
            "gauges": [[*key, value] for key, value in self.gauges.items()],
            "bins": self.bins,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The opposite of `to_json`.

        Raises:
            KeyError: A part is missing.
            ValueError: A part is no such list.
        """
        found = cls()
        for *key, n in values["counts"]:
            found.counts[_key(key)] = _number(n)
        for *key, counts, total in values["times"]:
            if not isinstance(counts, list) or len(counts) != len(BOUNDS) + 1:
                raise ValueError(f"{key}: not {len(BOUNDS) + 1} buckets")
            found.times[_key(key)] = Timing(counts, _number(total))
        for *key, value in values["gauges"]:
            found.gauges[_key(key)] = _number(value)
        found.bins.update(values["bins"])
        return found


class Measures:
    """Gathers the figures of one process, without a lock: each key is written from one thread only.

    Example:
        >>> measures = Measures()
        >>> measures.count("recsys_fallbacks_total", "no_bundle")
        >>> measures.count("recsys_fallbacks_total", "no_bundle", n=2)
        >>> measures.snapshot().counts
        {('recsys_fallbacks_total', 'no_bundle'): 3}
    """

    def __init__(self) -> None:
        self._counts: dict[Key, float] = {}
        self._times: dict[Key, Timing] = {}
        self._watched: list[Callable[[], Iterable[tuple[Key, float]]]] = []

    def count(self, name: str, *labels: str, n: float = 1) -> None:
        """Count something.

        Args:
            name: A counter of `METRICS`.
            *labels: Values of its labels.
            n: How many, ≥0.
        """
        key = (name, *labels)
        self._counts[key] = self._counts.get(key, 0) + n

    def time(self, name: str, *labels: str, seconds: float, n: int = 1) -> None:
        """Count how long something took.

        Args:
            name: A histogram of `METRICS`.
            *labels: Values of its labels.
            seconds: How long.
            n: How many waited for it.
        """
        key = (name, *labels)
        timing = self._times.get(key)
        if timing is None:
            timing = self._times[key] = Timing()
        timing.counts[bisect_left(BOUNDS, seconds)] += n
        timing.total += seconds * n

    def watch(self, name: str, read: Callable[[], float]) -> None:
        """Ask for a gauge of `METRICS` whenever the figures are looked at."""
        self._watched.append(lambda: (((name,), read()),))

    def watch_all(self, read: Callable[[], Iterable[tuple[Key, float]]]) -> None:
        """The same for several gauges, each with its key."""
        self._watched.append(read)

    def snapshot(self) -> Snapshot:
        """The figures now; in other threads counting goes on."""
        return Snapshot(
            dict(self._counts),
            {key: Timing(list(timing.counts), timing.total) for key, timing in list(self._times.items())},
            {key: value for read in self._watched for key, value in read()},
        )


def _merged(kind: Kind, before: float | None, value: float) -> float:
    if before is None:
        return value
    match kind:
        case Kind.LARGEST:
            return max(before, value)
        case Kind.SMALLEST:
            return min(before, value)
        case _:
            return before + value


def _sum_of(first: list[list[int]], second: list[list[int]]) -> list[list[int]]:
    if [len(row) for row in first] != [len(row) for row in second]:
        return first
    return [[mine + its for mine, its in zip(*rows, strict=True)] for rows in zip(first, second, strict=True)]


def _key(parts: list[object]) -> Key:
    if not parts or parts[0] not in METRICS:
        raise ValueError(f"{parts}: no figure of this program")
    return tuple([str(part) for part in parts])


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")  # noqa: TRY004 -- one kind of error for one broken file
    return value
