"""What statements about offers rest on, and the strongest of them that are true of a client."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from recsys.models.base import Evidence, EvidenceKind, FloatArray, IntArray
from recsys.models.chance import CountArray


class Grounds(NamedTuple):
    """How much each subject helps each offer, and on how many clients that rests.

    Attributes:
        kind: What the subjects are.
        subjects: Offer ids or traits, in the order of the rows.
        strengths: What a subject adds to an offer's score, subjects_by_offers.
        counts: Clients with both, 0 where nothing may be said, subjects_by_offers.
    """

    kind: EvidenceKind
    subjects: Sequence[str]
    strengths: FloatArray | CountArray
    counts: CountArray | IntArray

    def strongest(self, rows: Sequence[int], column: int, n_most: int) -> tuple[Evidence, ...]:
        """The subjects that help an offer most, of those above 0 on which something rests.

        Args:
            rows: The client's subjects; of equals the first goes first.
            column: The offer.
            n_most: How many are told at most.

        Example:
            >>> import numpy as np
            >>> strengths, counts = np.array([[0.1], [0.3], [0.9]]), np.array([[20], [30], [0]])
            >>> grounds = Grounds(EvidenceKind.HOLDING, ("pbx", "sms", "vpn"), strengths, counts)
            >>> [(one.subject, one.n_clients) for one in grounds.strongest([0, 1, 2], 0, n_most=2)]
            [('sms', 30), ('pbx', 20)]
        """
        kind, subjects, strengths, counts = self
        found = []
        # a client has few subjects: reading numbers one by one costs less than any array operation
        for row in rows:
            n_both = counts.item(row, column)
            if n_both and (strength := strengths.item(row, column)) > 0:
                found.append((strength, row, n_both))
        found.sort(key=itemgetter(0), reverse=True)
        return tuple([Evidence(kind, subjects[row], n_both) for _, row, n_both in found[:n_most]])
