"""Contact policy: what was put aside or shown often enough rests, and after a complaint all is quiet.

Contacts are counted by hour, so a cap's period begins on a full hour: a contact counts from its hour on until
within_days later at the beginning of that hour, which is up to an hour less than within_days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.data.state import CONTACT_TYPES
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.policy.contact import ContactCap, ContactSpec
from recsys.domain import ClientState, DismissalReason, Offer
from recsys.history import Contacts, hour_of, start_of

COMPLAINT_OPEN = "complaint_open"
DISMISSED: Mapping[DismissalReason, str] = MappingProxyType(
    {reason: f"dismissed_{reason.value}" for reason in DismissalReason}
)
"""By reason, the id of the rule that refuses an offer after a dismissal."""

Positions = NDArray[np.intp]
_DAY_HOURS = 24


class ContactRefusal(NamedTuple):
    """Offers that one rule of the contact policy refuses.

    Attributes:
        rule_id: The rule: ``dismissed_…``, ``complaint_open`` or the id of a cap.
        positions: The offers, by position in the catalogue.
        until: From this instant on the rule refuses them no longer, if nothing further happens; None = it
            always will.
    """

    rule_id: str
    positions: Positions
    until: datetime | None


class ContactRefusals(NamedTuple):
    """All that the contact policy refuses to one client at one moment.

    Attributes:
        everywhere: In every list.
        by_placement: By placement, in its lists only.
    """

    everywhere: list[ContactRefusal]
    by_placement: dict[str, list[ContactRefusal]]

    def add(self, refusal: ContactRefusal, placement_ids: Sequence[str]) -> None:
        """Refuse in these placements; if none are given, in every one."""
        if not placement_ids:
            self.everywhere.append(refusal)
        for placement_id in placement_ids:
            self.by_placement.setdefault(placement_id, []).append(refusal)


class Contact:
    """A contact policy, compiled for one catalogue.

    Args:
        catalogue: The compiled catalogue.
        spec: The policy.
        placement_ids: The placements that there are. What was shown in another one counts as shown, but
            in no placement.

    Example:
        >>> from datetime import UTC
        >>> from recsys.domain import ClientId, Dismissal, OfferId
        >>> catalogue = CompiledCatalogue([Offer(OfferId("crm")), Offer(OfferId("vpn"))])
        >>> put_aside = Dismissal(OfferId("vpn"), DismissalReason.NOT_NOW, datetime(2025, 1, 1, tzinfo=UTC))
        >>> state = ClientState(ClientId("c"), dismissals=(put_aside,))
        >>> now = datetime(2025, 1, 2, tzinfo=UTC)
        >>> (refusal,), _ = Contact(catalogue, ContactSpec(), ["home"]).refusals(state, now)
        >>> refusal.rule_id, refusal.positions.tolist(), refusal.until.isoformat()
        ('dismissed_not_now', [1], '2025-01-31T00:00:00+00:00')
    """

    def __init__(self, catalogue: CompiledCatalogue, spec: ContactSpec, placement_ids: Sequence[str]) -> None:
        self._alone = {offer_id: np.array([at]) for offer_id, at in catalogue.positions.items()}
        self._rests = {reason: timedelta(days=spec.cool_downs.days(reason)) for reason in DismissalReason}
        self._silence: timedelta | None = None
        self._silent = np.arange(len(catalogue))
        if spec.complaint is not None:
            self._silence = timedelta(days=spec.complaint.silence_days)
            if spec.complaint.exempt is not None:
                self._silent = np.flatnonzero(~spec.complaint.exempt.mask(catalogue))
        caps = [(cap, _groups(catalogue, cap)) for cap in spec.caps]
        self._for_good = [
            (ContactRefusal(cap.id, np.sort(np.concatenate(groups)), None), cap.placements)
            for cap, groups in caps
            if cap.at_most == 0 and groups
        ]
        counting = [(cap, groups) for cap, groups in caps if cap.at_most > 0]
        self._caps = _Caps(catalogue, counting, placement_ids) if counting else None

    def refusals(self, state: ClientState, now: datetime, member_id: str | None = None) -> ContactRefusals:
        """What the policy refuses to a client.

        Args:
            state: The client's state.
            now: The moment of the decision, aware.
            member_id: Who asks. Caps per member count what was shown to that member; for None, what was
                shown to nobody known.

        Returns:
            Every refusal; several rules may refuse one offer.
        """
        found = ContactRefusals([], {})
        for refusal, placement_ids in self._for_good:
            found.add(refusal, placement_ids)
        self._rest(state, now, found)
        # of the history only those parts are read that a rule asks for
        if self._silence is not None:
            self._be_silent(state, now, self._silence, found)
        if self._caps is not None and (contacts := state.history.contacts).hours:
            self._caps.refuse(contacts, hour_of(now), member_id or "", found)
        return found

    def _rest(self, state: ClientState, now: datetime, found: ContactRefusals) -> None:
        """Refuse offers whose dismissal is younger than the cool-down of its reason."""
        for dismissal in state.dismissals:
            positions = self._alone.get(dismissal.offer_id)
            until = dismissal.dismissed_at + self._rests[dismissal.reason]
            if positions is not None and now < until:
                found.add(ContactRefusal(DISMISSED[dismissal.reason], positions, until), ())

    def _be_silent(
        self, state: ClientState, now: datetime, silence: timedelta, found: ContactRefusals
    ) -> None:
        """Refuse everything that is not exempt as long as the latest complaint counts as open."""
        complaint = state.history.complaint
        if complaint is not None and now < complaint.complained_at + silence:
            until = complaint.complained_at + silence
            found.add(ContactRefusal(COMPLAINT_OPEN, self._silent, until), ())


def _groups(catalogue: CompiledCatalogue, cap: ContactCap) -> list[Positions]:
    """The offers of a cap, those that share one count together.

    An offer without category (need group, supplier) is in no group of a cap over that.
    """
    members: dict[str, list[int]] = {}
    for position, is_meant in enumerate(cap.offers.mask(catalogue).tolist()):
        shared = _shared(catalogue.offers[position], cap.over)
        if is_meant and shared is not None:
            members.setdefault(shared, []).append(position)
    return [np.array(positions, dtype=np.intp) for positions in members.values()]


def _shared(offer: Offer, over: str) -> str | None:
    """What an offer shares its count with; None = it has none."""
    match over:
        case "offer":
            return offer.offer_id
        case "category":
            return offer.category
        case "need_group":
            return offer.need_group
        case "supplier":
            return offer.supplier_id
        case _:
            return ""


class _Count(NamedTuple):
    """What one number is compared with: a group of a cap, or a placement of a cap over placements."""

    cap: ContactCap
    positions: Positions
    placement_ids: tuple[str, ...]


class _Caps:
    """Caps as one table, so that all of them are counted at once.

    A contact has a cell: its column (type of event, placement, whether it was the asking member's) and in it
    its offer, the last one for offers that the catalogue does not have. Each cap is a row that says by cell
    into which slot it counts a contact. Slot 0 belongs to no cap: it takes what is not counted.
    """

    def __init__(
        self,
        catalogue: CompiledCatalogue,
        caps: Sequence[tuple[ContactCap, list[Positions]]],
        placement_ids: Sequence[str],
    ) -> None:
        self._positions = dict(catalogue.positions)
        self._unknown = len(catalogue)
        placements = ("", *sorted({*placement_ids} - {""}))
        columns = list(product(map(str, CONTACT_TYPES), placements, _Member))
        self._counts: list[_Count] = []
        shape = (len(caps), len(columns), len(catalogue) + 1)
        slots, resets = np.zeros(shape, dtype=np.intp), np.zeros(shape, dtype=np.intp)
        for row, (cap, groups) in enumerate(caps):
            by_placement = self._number(cap, groups, placements)
            for column, (event_type, placement_id, member) in enumerate(columns):
                if _is_counted(cap, event_type, placement_id, member):
                    slots[row, column] = by_placement[placement_id]
                if _is_reset(cap, event_type, member):
                    resets[row, column] = by_placement[placement_id]
        self._slots, lifting = slots.reshape(len(caps), -1), resets.reshape(len(caps), -1)
        self._resets = lifting[lifting.any(axis=1)]
        self._limits = np.array([np.inf, *(count.cap.at_most for count in self._counts)])
        self._hours = np.array([[cap.within_days * _DAY_HOURS] for cap, _ in caps])
        self._least: dict[str, int] = {}
        for cap, _ in caps:
            self._least[cap.of] = min(cap.at_most, self._least.get(cap.of, cap.at_most))
        width = len(catalogue) + 1
        places = product(map(str, CONTACT_TYPES), placements)
        self._starts = _Starts({place: n * len(_Member) * width for n, place in enumerate(places)})
        self._shifts = [n * width for n in range(len(_Member))]

    def _number(
        self, cap: ContactCap, groups: Sequence[Positions], placements: Sequence[str]
    ) -> dict[str, NDArray[np.intp]]:
        """Give every count of a cap a slot; the slot of each offer, by placement."""
        by_placement = {}
        for placement_id in placements if cap.over == "placement" else placements[:1]:
            slots = np.zeros(self._unknown + 1, dtype=np.intp)
            for positions in groups:
                names = (placement_id,) if cap.over == "placement" else cap.placements
                self._counts.append(_Count(cap, positions, names))
                slots[positions] = len(self._counts)
            if groups and cap.over in ("placement", "all") and cap.offers.is_everything:
                slots[self._unknown] = len(self._counts)
            by_placement[placement_id] = slots
        return {name: by_placement.get(name, by_placement[""]) for name in placements}

    def refuse(self, contacts: Contacts, hour: int, member_id: str, found: ContactRefusals) -> None:
        """Refuse what has reached a cap within its period.

        Args:
            contacts: What is known of the client.
            hour: The hour of the decision.
            member_id: Who asks; empty = nobody known.
            found: Receives the refusals.
        """
        if not self._can_reach_one(contacts):
            return
        cells, hours = self._cells(contacts, member_id), np.array(contacts.hours)
        slots = self._slots.take(cells, axis=1)
        is_counted = hours > hour - self._hours
        if len(self._resets):
            is_counted &= hours > self._cleared(cells, hours).take(slots)
        counts = np.multiply(is_counted, np.array(contacts.counts, dtype=np.float64))
        totals = np.bincount(slots.ravel(), counts.ravel(), len(self._limits))
        is_reached = totals >= self._limits
        if np.count_nonzero(is_reached):
            counts[~is_reached.take(slots)] = 0
            self._refuse_reached(slots, counts, hours, found)

    def _can_reach_one(self, contacts: Contacts) -> bool:
        """Whether so much of any type happened that it could reach a cap, whatever it was about and when."""
        missing = self._least.copy()
        for event_type, n in zip(contacts.event_types, contacts.counts, strict=True):
            if event_type in missing:
                missing[event_type] -= n
                if missing[event_type] <= 0:
                    return True
        return False

    def _cells(self, contacts: Contacts, member_id: str) -> Positions:
        find, unknown = self._positions.get, self._unknown
        whose = {"": self._shifts[_Member.NOBODY_KNOWN], member_id: self._shifts[_Member.ASKING]}.get
        another = self._shifts[_Member.ANOTHER]
        places = zip(contacts.event_types, contacts.placement_ids, strict=True)
        starts = map(self._starts.__getitem__, places)
        return np.array(
            [
                start + whose(member, another) + find(offer_id, unknown)
                for start, member, offer_id in zip(
                    starts, contacts.member_ids, contacts.offer_ids, strict=True
                )
            ]
        )

    def _cleared(self, cells: Positions, hours: NDArray[np.int64]) -> NDArray[np.int64]:
        """By slot the latest hour in which something cleared its count, -1 where nothing did.

        What came before within that hour cannot be told from what came after, so all of it is cleared.
        """
        cleared = np.full(len(self._limits), -1)
        # hours ascend, and of several values for one slot the last stays
        cleared[self._resets.take(cells, axis=1)] = hours
        return cleared

    def _refuse_reached(
        self,
        slots: NDArray[np.intp],
        counts: NDArray[np.float64],
        hours: NDArray[np.int64],
        found: ContactRefusals,
    ) -> None:
        """Refuse what the slots stand for; every contact that counts is of a slot that reached its cap."""
        rows, entries = counts.nonzero()
        columns = (slots[rows, entries], counts[rows, entries], hours[entries])
        totals: dict[int, float] = {}
        for slot, n, hour in zip(*[column[::-1].tolist() for column in columns], strict=True):
            totals[slot] = total = totals.get(slot, 0) + n
            cap, positions, placement_ids = self._counts[slot - 1]
            # from the newest on: when the one that completes the cap leaves the period, the cap is lifted
            if total >= cap.at_most > total - n:
                until = start_of(hour + cap.within_days * _DAY_HOURS)
                found.add(ContactRefusal(cap.id, positions, until), placement_ids)


class _Member(IntEnum):
    """Whose a contact was."""

    ASKING = 0
    NOBODY_KNOWN = 1
    ANOTHER = 2


def _is_counted(cap: ContactCap, event_type: str, placement_id: str, member: _Member) -> bool:
    """Whether a cap counts such contacts."""
    return (
        event_type == cap.of
        and (not cap.placements or placement_id in cap.placements)
        and (cap.over != "placement" or placement_id != "")
        and (cap.per == "client" or member is _Member.ASKING)
    )


def _is_reset(cap: ContactCap, event_type: str, member: _Member) -> bool:
    """Whether such contacts clear a cap's counts; one of nobody known clears those of every member."""
    return event_type in cap.reset_on and (cap.per == "client" or member is not _Member.ANOTHER)


class _Starts(dict[tuple[str, str], int]):
    """By type of event and placement, the first cell of its columns; an unknown placement is like none."""

    def __missing__(self, place: tuple[str, str]) -> int:
        return self[place[0], ""]
