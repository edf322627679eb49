"""What statements about offers rest on, and the strongest of them that are true of a client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter

import numpy as np

from recsys.models.base import Evidence, EvidenceKind, FloatArray, IntArray
from recsys.models.chance import CountArray

_strength_of = itemgetter(0)
# Offers that are shown are few, and a long catalogue must not fill the memory.
_MOST_KEPT = 512


class Grounds:
    """How much each subject helps each offer, and on how many clients that rests.

    Args:
        kind: What the subjects are.
        subjects: Offer ids or traits, in the order of the rows.
        strengths: What a subject adds to an offer's score, subjects_by_offers.
        counts: Clients with both, 0 where nothing may be said, subjects_by_offers.
    """

    def __init__(
        self,
        kind: EvidenceKind,
        subjects: Sequence[str],
        strengths: FloatArray | CountArray,
        counts: CountArray | IntArray,
    ) -> None:
        self._kind = kind
        self._subjects = subjects
        self._strengths = strengths
        self._counts = counts
        self._kept: dict[int, Mapping[int, float]] = {}

    def strongest(self, rows: Sequence[int], column: int, n_most: int) -> Iterator[Evidence]:
        """The subjects that help an offer most, of those above 0 on which something rests.

        Args:
            rows: The client's subjects; of equals the first goes first.
            column: The offer.
            n_most: How many are told at most.

        Example:
            >>> strengths, counts = np.array([[0.1], [0.3], [0.9]]), np.array([[20], [30], [0]])
            >>> grounds = Grounds(EvidenceKind.HOLDING, ("pbx", "sms", "vpn"), strengths, counts)
            >>> [(one.subject, one.n_clients) for one in grounds.strongest([0, 1, 2], 0, n_most=2)]
            [('sms', 30), ('pbx', 20)]
        """
        strengths = self._kept.get(column)
        if strengths is None:
            strengths = self._strengths_of(column)
            if len(self._kept) < _MOST_KEPT:
                self._kept[column] = strengths
        found = [(strengths[row], row) for row in rows if row in strengths]
        if len(found) > 1:
            found.sort(key=_strength_of, reverse=True)
        for _, row in found[:n_most]:
            yield Evidence(self._kind, self._subjects[row], self._counts.item(row, column))

    def _strengths_of(self, column: int) -> Mapping[int, float]:
        """What helps an offer, by row."""
        strengths = self._strengths[:, column]
        rows = np.flatnonzero((self._counts[:, column] > 0) & (strengths > 0))
        return dict(zip(rows.tolist(), strengths[rows].tolist(), strict=True))
