"""Random numbers that are made from names: the same in every process, and each its own."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import FloatArray

_COINS_PER_HASH = 8
_COINS = Struct(f"<{_COINS_PER_HASH}Q")
# Arrays of one number: a NumPy scalar would be made into one at every use.
_SHIFTS = [np.array(shift, dtype=np.uint64) for shift in (30, 27, 31, 11)]
_FACTORS = [np.array(factor, dtype=np.uint64) for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)]
_GRAIN = 2.0**-53


def hash_of(text: str) -> int:
    """A hash that is the same in every process, in [0, 2⁶⁴)."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def coins_of(seed: int, purpose: str, n_coins: int) -> list[float]:
    """Independent numbers, uniform in [0, 1), for one purpose; a longer list begins with the shorter one."""
    coins: list[float] = []
    while len(coins) < n_coins:
        text = f"{seed}:{purpose}:{len(coins)}"
        digest = blake2b(text.encode(), digest_size=8 * _COINS_PER_HASH).digest()
        coins += [(number >> 11) * _GRAIN for number in _COINS.unpack(digest)]
    return coins


def patience_of(keys: NDArray[np.uint64], seed: int) -> FloatArray:
    """One Exp(1) variable for each key; an offer's does not depend on what other offers there are.

    Args:
        keys: Hashes of offer ids; see `hash_of`.
        seed: In [0, 2⁶⁴).

    Returns:
        Shape of `keys`, above 0.

    Source:
        Steele, Lea, Flood (2014), Fast splittable pseudorandom number generators (the mixing function).
    """
    mixed = keys + np.array(seed, dtype=np.uint64)
    mixed ^= mixed >> _SHIFTS[0]
    mixed *= _FACTORS[0]
    mixed ^= mixed >> _SHIFTS[1]
    mixed *= _FACTORS[1]
    mixed ^= mixed >> _SHIFTS[2]
    mixed >>= _SHIFTS[3]
    patience: FloatArray = (mixed.astype(np.float64) + 0.5) * _GRAIN
    np.log(patience, out=patience)
    return np.negative(patience, out=patience)
