"""What is known of all clients together, frozen at one instant: popularity, trend, similar companies.

A bundle carries it, so that serving reads the numbers of the fit and knows their age. Rows for training are
built with a population as old as the one that serving will have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import numpy as np
from numpy.typing import NDArray

from recsys.domain import ClientState, Offer, Profile, Size
from recsys.features.drift import Reference
from recsys.features.staff import StaffLine, fit_staff_line

FloatArray = NDArray[np.float64]

MIN_SIMILAR = 10
"""Companies that a segment must have for anything to be said of "similar companies"."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TREND_DAYS = (30, 90)
_REFERENCE = "reference_"
_STAFF_LINE = "staff_line"


@dataclass(frozen=True, slots=True)
class Population:
    """Frozen figures of all clients.

    Attributes:
        as_of: When they were true.
        offer_ids: The columns.
        need_groups: Need groups of the catalogue at that time, ascending.
        holder_shares: Share of clients that hold each offer, 0–1, shape (n_offers,).
        recent_shares: Share of clients that connected each offer within 30 and 90 days, shape (2, n_offers).
        segments: Names of the segments with enough companies: ``size|industry``, ``size|`` and, for
            everybody, ``|``.
        segment_shares: Share of a segment's clients that hold each offer, shape (n_segments, n_offers).
        staff_line: How staff follows from SIM cards; None = it does not, or nobody looked.
        reference: How features and scores were distributed, to tell later what has changed; None in a
            bundle that nobody counted them for.
    """

    as_of: datetime
    offer_ids: tuple[str, ...]
    need_groups: tuple[str, ...]
    holder_shares: FloatArray
    recent_shares: FloatArray
    segments: tuple[str, ...]
    segment_shares: FloatArray
    staff_line: StaffLine | None = None
    reference: Reference | None = None

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything but the offers' ids as plain arrays."""
        reference = {} if self.reference is None else self.reference.to_arrays()
        line = {} if self.staff_line is None else {_STAFF_LINE: np.array(self.staff_line)}
        return {
            **{f"{_REFERENCE}{name}": array for name, array in reference.items()},
            **line,
            "as_of": np.array([(self.as_of - _EPOCH) // _MICROSECOND], dtype=np.int64),
            "need_groups": _texts(self.need_groups),
            "holder_shares": self.holder_shares,
            "recent_shares": self.recent_shares,
            "segments": _texts(self.segments),
            "segment_shares": self.segment_shares,
        }

    @classmethod
    def restore(cls, offer_ids: Sequence[str], arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """The opposite of `to_arrays`.

        Raises:
            KeyError: An array is missing.
            ValueError: The arrays do not fit together or hold what no share can be.
        """
        n_offers, segments = len(offer_ids), tuple(arrays["segments"].tolist())
        shapes = {
            "holder_shares": (n_offers,),
            "recent_shares": (len(_TREND_DAYS), n_offers),
            "segment_shares": (len(segments), n_offers),
        }
        found = {name: _shares(arrays, name, shape) for name, shape in shapes.items()}
        reference = {
            name.removeprefix(_REFERENCE): array
            for name, array in arrays.items()
            if name.startswith(_REFERENCE)
        }
        return cls(
            as_of=_EPOCH + int(arrays["as_of"][0]) * _MICROSECOND,
            offer_ids=tuple(offer_ids),
            need_groups=tuple(arrays["need_groups"].tolist()),
            segments=segments,
            reference=Reference.restore(reference) if reference else None,
            staff_line=_line_of(arrays),
            **found,
        )


def fit_population(states: Sequence[ClientState], offers: Sequence[Offer], as_of: datetime) -> Population:
    """Count what clients hold as of an instant.

    Args:
        states: Every client, as it stood at as_of.
        offers: The columns.
        as_of: The instant.
    """
    columns = {offer.offer_id: column for column, offer in enumerate(offers)}
    # counted under the segments of a client together, in plain lists, and summed once at the end
    n_members: dict[tuple[str, ...], int] = defaultdict(int)
    n_holders: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * len(offers))
    n_recent = [[0] * len(offers) for _ in _TREND_DAYS]
    starts = [(as_of - timedelta(days=days), row) for days, row in zip(_TREND_DAYS, n_recent, strict=True)]
    for state in states:
        names = segments_of(state.profile)
        n_members[names] += 1
        row = n_holders[names]
        newest = {held.offer_id: held.connected_at for held in state.holdings if held.offer_id in columns}
        for offer_id, connected_at in newest.items():
            column = columns[offer_id]
            row[column] += 1
            for start, recent in starts:
                if connected_at > start:
                    recent[column] += 1
    members: dict[str, int] = defaultdict(int)
    holders: dict[str, FloatArray] = defaultdict(lambda: np.zeros(len(offers)))
    for names, n in n_members.items():
        for segment in names:
            members[segment] += n
            holders[segment] += n_holders[names]
    segments = sorted(name for name, n in members.items() if n >= MIN_SIMILAR or name == "|")
    shares = [holders[name] / members[name] for name in segments]
    return Population(
        as_of=as_of,
        offer_ids=tuple(columns),
        need_groups=need_groups_of(offers),
        holder_shares=holders["|"] / max(len(states), 1),
        recent_shares=np.array(n_recent).reshape(len(_TREND_DAYS), len(offers)) / max(len(states), 1),
        segments=tuple(segments),
        segment_shares=np.array(shares).reshape(len(segments), len(offers)),
        staff_line=fit_staff_line(states),
    )


def segments_of(profile: Profile | None) -> tuple[str, ...]:
    """Segments of a client, the narrowest first; everybody is in the last one.

    Example:
        >>> segments_of(Profile(size=Size.MICRO, industry="G"))
        ('micro|G', 'micro|', '|')
        >>> segments_of(None)
        ('|',)
    """
    if profile is None or profile.size is Size.UNKNOWN:
        return ("|",)
    wide = (f"{profile.size}|", "|")
    return wide if profile.industry is None else (f"{profile.size}|{profile.industry}", *wide)


def need_groups_of(offers: Sequence[Offer]) -> tuple[str, ...]:
    """The need groups of a catalogue, ascending."""
    return tuple(sorted({offer.need_group for offer in offers if offer.need_group is not None}))


def _shares(arrays: Mapping[str, NDArray[np.generic]], name: str, shape: tuple[int, ...]) -> FloatArray:
    array = arrays[name]
    if array.dtype != np.float64 or array.shape != shape:
        raise ValueError(f"population array {name!r} must be float64 of shape {shape}")
    shares = array.astype(np.float64, copy=False)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(f"population array {name!r} holds values that are no shares")
    return shares


def _line_of(arrays: Mapping[str, NDArray[np.generic]]) -> StaffLine | None:
    line = arrays.get(_STAFF_LINE)
    if line is None:
        return None
    if line.dtype != np.float64 or line.shape != (len(StaffLine._fields),) or not np.isfinite(line).all():
        raise ValueError(f"population array {_STAFF_LINE!r} must be two finite float64")
    return StaffLine(*line.tolist())


def _texts(texts: Sequence[str]) -> NDArray[np.generic]:
    return np.array(texts, dtype=np.str_) if texts else np.zeros(0, dtype="<U1")
