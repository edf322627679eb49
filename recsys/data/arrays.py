"""Plain arrays in numpy's file format, from bytes that somebody else may have written."""

from __future__ import annotations

import io
import math
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

VERSION = (1, 0)
_NUMBERS_AND_TEXT = "fiubU"
# An array without values may have long sides, over which a reader would go for hours.
_LONGEST_EMPTY = 1_000_000
# numpy parses a header as a piece of Python.
_UNREADABLE = (
    EOFError,
    MemoryError,
    OSError,
    OverflowError,
    RecursionError,
    SyntaxError,
    TokenError,
    TypeError,
)


def array_to_bytes(array: NDArray[np.generic]) -> bytes:
    """An array as a file's content."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array), version=VERSION, allow_pickle=False)
    return stream.getvalue()


def array_from_bytes(content: bytes) -> NDArray[np.generic]:
    """The one array of numbers or texts that a file holds.

    Raises:
        ValueError: It holds anything else, or not as much as its header tells; nothing was unpickled, and
            no more memory taken than the content has bytes.

    Example:
        >>> array_from_bytes(array_to_bytes(np.array([1, 2, 3]))).tolist()
        [1, 2, 3]
        >>> array_from_bytes(array_to_bytes(np.array([1, 2, 3]))[:-1])
        Traceback (most recent call last):
            ...
        ValueError: it does not hold what its header tells, or more than one plain array
    """
    stream = io.BytesIO(content)
    try:
        if np.lib.format.read_magic(stream) != VERSION:
            raise ValueError("it is of another version of the format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        # Looked at before anything is made of it: a header of a hundred bytes may tell of terabytes.
        n_bytes = math.prod(shape) * dtype.itemsize
        if dtype.kind not in _NUMBERS_AND_TEXT or n_bytes != len(content) - stream.tell():
            raise ValueError("it does not hold what its header tells, or more than one plain array")
        if max(shape, default=0) > max(len(content), _LONGEST_EMPTY):
            raise ValueError(f"its shape is {shape}, and it holds next to nothing")
        stream.seek(0)
        array: NDArray[np.generic] = np.lib.format.read_array(stream, allow_pickle=False)
    except _UNREADABLE as error:
        raise ValueError(f"its header cannot be read: {error}") from error
    return array
