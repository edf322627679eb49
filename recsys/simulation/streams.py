"""Random draws by purpose and month, so that what one part draws never moves another's draws."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MIX = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)


class Purpose(IntEnum):
    """What a draw is for; the numbers are part of every seed."""

    CLIENTS = 0
    MEMBERS = 1
    TASTES = 2
    SETTLING = 3
    DRIFT = 4
    COURSE = 5
    LEAVING = 6
    VISITS = 7
    ATTENTION = 8
    CHOICES = 9
    REACTIONS = 10
    DATES = 11
    SOURCES = 12
    SEATS = 13
    TERMS = 14
    ENDINGS = 15
    FIGURES = 16
    REPORTS = 17
    FEED = 18
    COMPLAINTS = 19


class Streams:
    """Every source of draws of one life of a world.

    Two lives with the same seed draw the same numbers for the same purpose, month and subject, whatever
    else happens in them: rollouts of two policies differ by what the policies do and not by luck.
    """

    def __init__(self, seed: int, path: int = 0) -> None:
        self._seed = seed
        self._path = path

    def rng(self, purpose: Purpose, month: int = -1) -> np.random.Generator:
        """A generator; draw from it only arrays whose shape no policy changes."""
        return np.random.default_rng(self._sequence(purpose, month))

    def uniforms(self, purpose: Purpose, month: int, keys: IntArray) -> FloatArray:
        """One uniform number in [0, 1) for each key, the same for the same key."""
        base = self._sequence(purpose, month).generate_state(1, np.uint64)
        return uniform_of(base, keys)

    def other_path(self, path: int) -> Streams:
        """The draws of another life that could have been."""
        return Streams(self._seed, path)

    def _sequence(self, purpose: Purpose, month: int) -> np.random.SeedSequence:
        return np.random.SeedSequence((self._seed, self._path, int(purpose), month + 1))


def uniform_of(seeds: NDArray[np.generic], places: IntArray | int) -> FloatArray:
    """Uniform numbers in [0, 1): outputs of the splitmix64 generator at those places of its sequence.

    Args:
        seeds: States of the generator, integers ≥0.
        places: 1-based places; broadcast against `seeds`.

    Source:
        Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014, figure 14.

    Example:
        >>> uniform_of(np.array([0]), 1).round(6)
        array([0.883311])
    """
    steps = np.asarray(places).astype(np.uint64)
    state: NDArray[np.uint64] = seeds.astype(np.uint64) + _MIX[:1] * steps
    state = (state ^ (state >> np.uint64(30))) * _MIX[1]
    state = (state ^ (state >> np.uint64(27))) * _MIX[2]
    state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)).astype(np.float64) / 2.0**53
