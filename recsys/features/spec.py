"""What a feature is: a name, a unit and a range, stated once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import orjson

SPEC_VERSION = 1
"""Goes up when a number changes its meaning and keeps name, unit and range."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One number of a row; NaN = unknown.

    Attributes:
        name: Unique within its family.
        unit: ``flag`` (0 or 1), ``count``, ``share``, ``days``, ``minor`` (money), ``code`` (the number means
            nothing but itself) or ``ratio``.
        low: Smallest value.
        high: Largest value; None = without end.
    """

    name: str
    unit: str
    low: float = 0.0
    high: float | None = None


@dataclass(frozen=True)
class FeatureSpec:
    """The features of a client's row and of its rows with offers, in order; all are float64.

    Attributes:
        client: One number each for a client.
        pair: One number each for a client and an offer, the offer's own first.
    """

    client: tuple[Feature, ...]
    pair: tuple[Feature, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over version, names, units and ranges in their order: what a model was trained to read."""
        families = [
            [[each.name, each.unit, each.low, each.high] for each in family]
            for family in (self.client, self.pair)
        ]
        return sha256(orjson.dumps([SPEC_VERSION, *families])).hexdigest()


def flags(names: Sequence[str]) -> tuple[Feature, ...]:
    """Features that are 0 or 1.

    Example:
        >>> [each.high for each in flags(["is_vip"])]
        [1.0]
    """
    return tuple(Feature(name, "flag", 0.0, 1.0) for name in names)


def counts(names: Sequence[str]) -> tuple[Feature, ...]:
    """Features that count."""
    return tuple(Feature(name, "count") for name in names)
