"""The VIP status: who qualifies, when it is looked at again, and why it is taken away."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

from recsys.decision.policy.vip import VipSpec
from recsys.domain import ClientState, Profile
from recsys.history import MonthFigures

_LATEST_LAG_MONTHS = 2


class VipOutcome(StrEnum):
    """What a review comes to.

    ``not_due``: a VIP whose review lies ahead. ``undecided``: figures are missing, so nothing changes.
    ``not_qualified``: no VIP before, and none now.
    """

    GRANTED = "granted"
    KEPT = "kept"
    REVOKED = "revoked"
    NOT_DUE = "not_due"
    UNDECIDED = "undecided"
    NOT_QUALIFIED = "not_qualified"


class VipReason(StrEnum):
    """What stands against the status, or keeps it from being judged."""

    SPEND_TOO_LOW = "spend_too_low"
    TOO_MANY_NUMBERS = "too_many_numbers"
    SPEND_UNKNOWN = "spend_unknown"
    NUMBERS_UNKNOWN = "numbers_unknown"


@dataclass(frozen=True, slots=True)
class VipReview:
    """What a review found.

    Attributes:
        outcome: What it comes to.
        reasons: What stands against the status; without an answer to that, what is missing.
        mean_spend_minor: Mean spend of the months looked at, rounded down; None where it is unknown.
        n_numbers: SIMs in the latest of them; None where it is unknown.
        due_on: When the status is to be reviewed next; None without the status, and where it is due now.
    """

    outcome: VipOutcome
    reasons: tuple[VipReason, ...]
    mean_spend_minor: int | None
    n_numbers: int | None
    due_on: date | None

    @property
    def is_change(self) -> bool:
        """Whether the client's profile changes: its status, or the day of its review."""
        return self.outcome in (VipOutcome.GRANTED, VipOutcome.KEPT, VipOutcome.REVOKED)

    @property
    def sentence(self) -> str:
        """The outcome and its reasons, for those who audit it.

        Example:
            >>> VipReview(VipOutcome.REVOKED, (VipReason.SPEND_TOO_LOW,), 900, 3, None).sentence
            'vip_revoked: spend_too_low'
        """
        return f"vip_{self.outcome}: {', '.join(self.reasons) or 'qualifies'}"


def review_vip(state: ClientState, spec: VipSpec, today: date) -> VipReview:
    """Whether a client becomes, stays or ceases to be a VIP.

    A client qualifies when its spend of the latest months, Σ spend ÷ months, is at least the least mean, and
    it has at most so many numbers. A VIP keeps the status until its review is due, whatever its figures are
    in between; figures that are missing neither grant nor revoke.

    Args:
        state: The client.
        spec: Who is a VIP.
        today: The day of the review in the operator's zone.

    Example:
        >>> from recsys.domain import ClientId
        >>> from recsys.history import History
        >>> months = [MonthFigures(date(2025, month, 1), spend_minor=500) for month in (1, 2, 3)]
        >>> state = ClientState(ClientId("c"), profile=Profile(), history=History(tuple(months)))
        >>> review_vip(state, VipSpec(min_mean_spend_minor=500), date(2025, 4, 2)).outcome
        <VipOutcome.GRANTED: 'granted'>
    """
    profile = state.profile or Profile()
    months = _latest_months(state.history.months, spec.months, today)
    spend = _total_spend(months) if months else None
    known, has_all = _numbers(months[-1]) if months else (0, False)
    against = _against(spend, known, spec)
    missing = _missing(spend, has_all, spec)
    qualifies = False if against else None if missing else True
    due_on = _due_on(profile, spec)
    is_due = profile.is_vip and (due_on is None or today >= due_on)
    outcome = _outcome(profile.is_vip, is_due, qualifies)
    if outcome in (VipOutcome.GRANTED, VipOutcome.KEPT):
        due_on = _months_later(today, spec.review_months)
    return VipReview(
        outcome=outcome,
        reasons=against or missing,
        mean_spend_minor=None if spend is None else spend // spec.months,
        n_numbers=known if has_all else None,
        due_on=due_on if outcome in (VipOutcome.GRANTED, VipOutcome.KEPT, VipOutcome.NOT_DUE) else None,
    )


def reviewed_profile(profile: Profile, review: VipReview, today: date) -> Profile:
    """The profile after a review; the same object where nothing changes."""
    if not review.is_change:
        return profile
    return replace(profile, is_vip=review.outcome is not VipOutcome.REVOKED, vip_reviewed_on=today)


def _outcome(is_vip: bool, is_due: bool, qualifies: bool | None) -> VipOutcome:
    if is_vip and not is_due:
        return VipOutcome.NOT_DUE
    if qualifies is None:
        return VipOutcome.UNDECIDED
    if is_vip:
        return VipOutcome.KEPT if qualifies else VipOutcome.REVOKED
    return VipOutcome.GRANTED if qualifies else VipOutcome.NOT_QUALIFIED


def _against(spend: int | None, n_known_numbers: int, spec: VipSpec) -> tuple[VipReason, ...]:
    found = []
    if spend is not None and spend < spec.min_mean_spend_minor * spec.months:
        found.append(VipReason.SPEND_TOO_LOW)
    if spec.max_numbers is not None and n_known_numbers > spec.max_numbers:
        found.append(VipReason.TOO_MANY_NUMBERS)
    return tuple(found)


def _missing(spend: int | None, has_all_numbers: bool, spec: VipSpec) -> tuple[VipReason, ...]:
    found = []
    if spend is None:
        found.append(VipReason.SPEND_UNKNOWN)
    if spec.max_numbers is not None and not has_all_numbers:
        found.append(VipReason.NUMBERS_UNKNOWN)
    return tuple(found)


def _latest_months(months: Sequence[MonthFigures], n_months: int, today: date) -> tuple[MonthFigures, ...]:
    """The latest whole months known, if they follow each other and are not stale; else none."""
    whole = [month for month in months if _number(month.month_on) < _number(today)][-n_months:]
    if len(whole) < n_months or _number(whole[-1].month_on) - _number(whole[0].month_on) != n_months - 1:
        return ()
    return tuple(whole) if _number(today) - _number(whole[-1].month_on) <= _LATEST_LAG_MONTHS else ()


def _total_spend(months: Sequence[MonthFigures]) -> int | None:
    spends = [month.spend_minor for month in months if month.spend_minor is not None]
    return sum(spends) if len(spends) == len(months) else None


def _numbers(month: MonthFigures) -> tuple[int, bool]:
    """SIMs as far as they are known, and whether all are."""
    counts = (month.n_sims_employees, month.n_sims_field, month.n_sims_devices)
    known = [count for count in counts if count is not None]
    return sum(known), len(known) == len(counts)


def _due_on(profile: Profile, spec: VipSpec) -> date | None:
    """When a VIP is to be reviewed; None where nobody knows when it was reviewed last."""
    if not profile.is_vip or profile.vip_reviewed_on is None:
        return None
    return _months_later(profile.vip_reviewed_on, spec.review_months)


def _months_later(day: date, n_months: int) -> date:
    """The same day of a later month, or that month's last day."""
    year, month = divmod(_number(day) + n_months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _number(day: date) -> int:
    """Months since the year 0."""
    return day.year * 12 + day.month - 1
