"""How far what is seen now lies from what was trained on: the population stability index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

N_EDGES: Final = 9
"""Deciles of a number that takes many values; a number of few values has one bin for each."""

SCORE_NAMES: Final = ("score_best", "score_mean")
"""What is compared of a client's scores: the highest and the mean of its probabilities."""

_N_BINS: Final = N_EDGES + 2
_LEAST_SHARE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Reference:
    """How numbers were distributed when a bundle was fitted.

    Attributes:
        names: The numbers.
        edges: Upper ends of the bins, ascending, filled up with +inf, shape (n_names, 9); a value on an edge
            lies below it.
        shares: Share of each bin, shape (n_names, 11); the first is the share of unknown values.
    """

    names: tuple[str, ...]
    edges: FloatArray
    shares: FloatArray

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """As plain arrays."""
        return {"names": np.array(self.names, dtype=np.str_), "edges": self.edges, "shares": self.shares}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """The opposite of `to_arrays`.

        Raises:
            KeyError: An array is missing.
            ValueError: The arrays do not fit together.
        """
        names = tuple(arrays["names"].tolist())
        edges, shares = arrays["edges"], arrays["shares"]
        if (edges.shape, shares.shape) != ((len(names), N_EDGES), (len(names), _N_BINS)):
            raise ValueError("the reference of the features has arrays of different lengths")
        if edges.dtype != np.float64 or shares.dtype != np.float64:
            raise ValueError("the reference of the features must be float64")
        return cls(names, edges.astype(np.float64, copy=False), shares.astype(np.float64, copy=False))


def compared(client_rows: FloatArray, probabilities: FloatArray) -> FloatArray:
    """What is compared of clients: their features, then `SCORE_NAMES`.

    Args:
        client_rows: Shape (n_clients, n_features); NaN = unknown.
        probabilities: Shape (n_clients, n_offers), n_offers ≥1.

    Returns:
        Shape (n_clients, n_features + 2).
    """
    return np.column_stack([client_rows, probabilities.max(axis=1), probabilities.mean(axis=1)])


def fit_reference(names: Sequence[str], rows: FloatArray) -> Reference:
    """Find bins and count what lies in them.

    Args:
        names: One for each column.
        rows: Shape (n_samples, n_names), n_samples ≥1; NaN = unknown.

    Example:
        >>> reference = fit_reference(["is_vip"], np.array([[0.0], [0.0], [0.0], [1.0]]))
        >>> reference.edges[0, :2].tolist(), reference.shares[0, :3].tolist()
        ([0.0, inf], [0.0, 0.75, 0.25])
    """
    edges = np.array([_edges_of(column) for column in rows.T]).reshape(len(names), N_EDGES)
    counts = count_bins(edges, rows)
    return Reference(tuple(names), edges, counts / len(rows))


def count_bins(edges: FloatArray, rows: FloatArray) -> IntArray:
    """How many values lie in each bin.

    Args:
        edges: See `Reference.edges`.
        rows: Shape (n_samples, n_names); NaN = unknown.

    Returns:
        Shape (n_names, 11); the first bin holds the unknown values.
    """
    bins = np.ones(rows.shape, dtype=np.int64)
    for ends in edges.T:
        bins += rows > ends
    bins[np.isnan(rows)] = 0
    n_names = len(edges)
    flat = (bins + np.arange(n_names) * _N_BINS).ravel()
    return np.bincount(flat, minlength=n_names * _N_BINS).reshape(n_names, _N_BINS)


def stability_index(shares: FloatArray, counts: IntArray) -> float:
    """Σ (a − e)·ln(a/e) over the bins, e = share expected, a = share seen, neither below 1e-4.

    Args:
        shares: Shares expected, shape (n_bins,).
        counts: Counts seen, at least one, shape (n_bins,).

    Returns:
        0 = alike. By custom up to 0.1 is steady and from 0.25 on is a change; by chance alone it is about
        (n_bins − 1)/n_seen.

    Example:
        Expected half and half, seen one to three: −¼·ln ½ + ¼·ln ³⁄₂ = ¼·ln 3.

        >>> round(stability_index(np.array([0.5, 0.5]), np.array([1, 3])), 6)
        0.274653
    """
    expected = np.maximum(shares, _LEAST_SHARE)
    seen = np.maximum(counts / counts.sum(), _LEAST_SHARE)
    return float(((seen - expected) * np.log(seen / expected)).sum())


def _edges_of(column: FloatArray) -> FloatArray:
    known = column[~np.isnan(column)]
    values = np.unique(known)
    if len(values) > N_EDGES + 1:
        values = np.unique(np.quantile(known, np.arange(1, N_EDGES + 1) / (N_EDGES + 1)))
    else:
        values = values[:-1]  # what lies above the last edge is the last value's bin
    return np.concatenate([values, np.full(N_EDGES - len(values), np.inf)])
