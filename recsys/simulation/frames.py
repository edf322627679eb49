"""From codes to the texts of tables."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recsys.simulation.clients import IntArray

MISSING = -1


def numbered(prefix: str, numbers: IntArray) -> pl.Series:
    """Ids made of a prefix and a number of seven digits; a negative number stands for a missing id.

    Example:
        >>> import numpy as np
        >>> numbered("c", np.array([12, -1])).to_list()
        ['c0000012', None]
    """
    known = pl.Series("number", numbers)
    ids = pl.select(pl.lit(prefix) + known.cast(pl.String).str.zfill(7)).to_series()
    return pl.select(pl.when(known >= 0).then(ids)).to_series()


def named(names: Sequence[str], codes: IntArray) -> pl.Series:
    """Names by their position; a negative code stands for a missing name.

    Example:
        >>> import numpy as np
        >>> named(["click", "activation"], np.array([1, -1, 0])).to_list()
        ['activation', None, 'click']
    """
    texts = pl.Series("name", [str(name) for name in names], dtype=pl.String)
    return texts.gather(optional(codes))


def optional(numbers: IntArray) -> pl.Series:
    """Numbers, or instants, of which negative ones are missing.

    Example:
        >>> import numpy as np
        >>> optional(np.array([5, -1])).to_list()
        [5, None]
    """
    values = pl.Series("number", numbers)
    return pl.select(pl.when(values >= 0).then(values)).to_series()
