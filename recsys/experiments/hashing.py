"""Hashes that put ids onto [0, 1): FNV-1a as GrowthBook's specification uses it.

Over the UTF-16 code units u of a text, in 32 bits: h₀ = 2,166,136,261, h ← (h xor u) · 16,777,619 mod 2³².
Version 2 of a share is FNV(decimal digits of FNV(seed ‖ id)) mod 10,000 / 10,000, version 1 is
FNV(id ‖ seed) mod 1,000 / 1,000; the former is the one without bias.

Source:
    G. Fowler, L. C. Noll, K.-P. Vo, D. Eastlake, The FNV Non-Cryptographic Hash Algorithm (IETF draft).
    GrowthBook, Build Your Own SDK, specification 0.8.0: ``hash``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import FloatArray

_START = 0x811C9DC5
_PRIME = np.uint32(0x01000193)
N_STEPS = {1: 1_000, 2: 10_000}
"""Version → number of different shares."""

_POWERS = tuple(np.uint32(10**power) for power in range(9, -1, -1))
# So many hashes at once stay in the processor's nearer caches.
_BLOCK = 1 << 14

_HashArray = NDArray[np.uint32]


def hash_share(seed: str, value: str, version: int = 2) -> float | None:
    """Where an id falls in [0, 1).

    Args:
        seed: What makes this draw independent of others.
        value: The id.
        version: 1 or 2.

    Returns:
        The share; None for a version that does not exist.

    Example:
        >>> hash_share("seed", "a", 2), hash_share("", "a", 1), hash_share("abc", "def", 99)
        (0.0505, 0.22, None)
    """
    return Share(seed, version).of(value) if version in N_STEPS else None


def hash_shares(seed: str, values: Sequence[str], version: int = 2) -> FloatArray:
    """The same for many ids at once.

    Returns:
        Shape (n_values,).

    Raises:
        ValueError: There is no such version.

    Example:
        >>> hash_shares("seed", ["a", "b"]).tolist()
        [0.0505, 0.2696]
    """
    return Ids(values).shares(seed, version)


class Share:
    """The hash with one seed, for one id after the other.

    Args:
        seed: What makes this draw independent of others.
        version: 1 or 2.

    Raises:
        ValueError: There is no such version.

    Example:
        >>> Share("foo").of("ab")
        0.2575
    """

    __slots__ = ("_start", "_units", "seed", "version")

    def __init__(self, seed: str, version: int = 2) -> None:
        _check(version)
        self.seed, self.version = seed, version
        self._units = _code_units(seed)
        self._start = _fnv(self._units)

    def of(self, value: str) -> float:
        """Where an id falls in [0, 1)."""
        return self.step_of(value) / N_STEPS[self.version]

    def step_of(self, value: str) -> int:
        """The same as a whole number below `N_STEPS` of the version."""
        units = value.encode() if value.isascii() else _code_units(value)
        if self.version == 2:
            return _fnv(b"%d" % _fnv(units, self._start)) % 10_000
        return _fnv(self._units, _fnv(units)) % 1_000


class Ids:
    """Many ids, laid out so that they can be hashed with one seed after the other.

    Args:
        values: The ids.

    Example:
        >>> ids = Ids(["a", "b", "ab"])
        >>> ids.shares("seed").tolist(), ids.shares("foo").tolist()[2]
        ([0.0505, 0.2696, 0.9316], 0.2575)
    """

    def __init__(self, values: Sequence[str]) -> None:
        joined = "".join(values)
        flat = np.frombuffer(joined.encode("utf-16-le", "surrogatepass"), dtype="<u2")
        lengths = np.fromiter(map(len, values), dtype=np.intp, count=len(values))
        if len(flat) != len(joined):  # some characters take two code units
            lengths = np.array([len(_code_units(value)) for value in values], dtype=np.intp)
        starts = np.cumsum(lengths) - lengths
        self._n = len(values)
        # for each length the rows that have it and their code units, position_by_row
        self._groups: list[tuple[NDArray[np.intp], NDArray[np.uint16]]] = []
        for length in np.unique(lengths).tolist():
            rows = np.flatnonzero(lengths == length)
            self._groups.append((rows, flat[starts[rows] + np.arange(length)[:, None]]))

    def __len__(self) -> int:
        return self._n

    def shares(self, seed: str, version: int = 2) -> FloatArray:
        """Where each id falls in [0, 1).

        Args:
            seed: What makes this draw independent of others.
            version: 1 or 2.

        Returns:
            Shape (n_ids,).

        Raises:
            ValueError: There is no such version.
        """
        shares: FloatArray = self.steps(seed, version) / N_STEPS[version]
        return shares

    def steps(self, seed: str, version: int = 2) -> NDArray[np.uint32]:
        """The same as whole numbers below `N_STEPS` of the version, shape (n_ids,)."""
        _check(version)
        units = _code_units(seed)
        hashes = np.empty(self._n, dtype=np.uint32)
        for rows, columns in self._groups:
            for begin in range(0, len(rows), _BLOCK):
                block = columns[:, begin : begin + _BLOCK]
                hashes[rows[begin : begin + _BLOCK]] = _hash_block(block, units, version)
        hashes %= np.uint32(N_STEPS[version])
        return hashes


def _check(version: int) -> None:
    if version not in N_STEPS:
        raise ValueError(f"version = {version}; the hash has the versions 1 and 2")


def _code_units(text: str) -> list[int]:
    units: list[int] = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), dtype="<u2").tolist()
    return units


def _fnv(units: Sequence[int], start: int = _START) -> int:
    """The hash of code units that follow those whose hash is `start`."""
    for unit in units:
        start = (start ^ unit) * 0x01000193 & 0xFFFFFFFF  # names would cost a look-up for each unit
    return start


def _hash_block(columns: NDArray[np.uint16], seed: Sequence[int], version: int) -> _HashArray:
    """Hashes of ids of one length, position_by_id; a version's last step is left to the caller."""
    start = _fnv(seed) if version == 2 else _START
    hashes = np.full(columns.shape[1], start, dtype=np.uint32)
    for column in columns:
        _step(hashes, column)
    if version == 2:
        return _hash_digits(hashes)
    for unit in seed:
        _step(hashes, np.uint16(unit))
    return hashes


def _step(hashes: _HashArray, units: NDArray[np.uint16] | np.uint16) -> None:
    np.bitwise_xor(hashes, units, out=hashes)
    np.multiply(hashes, _PRIME, out=hashes)


def _hash_digits(numbers: _HashArray) -> _HashArray:
    """Hashes of the decimal digits of numbers."""
    hashes = np.full(len(numbers), _START, dtype=np.uint32)
    rest, digits = numbers.copy(), np.empty_like(numbers)
    for power in _POWERS:
        np.floor_divide(rest, power, out=digits)
        rest -= digits * power
        digits += np.uint32(ord("0"))
        # a number begins with its first digit that is not 0, and 0 is one digit
        is_written = (numbers >= power) | (power == 1)
        np.bitwise_xor(hashes, digits, out=hashes, where=is_written)
        np.multiply(hashes, _PRIME, out=hashes, where=is_written)
    return hashes
