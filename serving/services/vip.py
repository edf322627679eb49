"""Use case: review the VIP status of every client by the policy in force."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from recsys.decision.policy.vip import VipSpec
from recsys.decision.vip import VipOutcome, VipReason, VipReview, review_vip, reviewed_profile
from recsys.domain import ClientState
from recsys.errors import ConfigError, ConflictError
from serving.ports import PutClient, Store
from serving.services.policies import sound_policy

_CLIENTS_AT_ONCE = 500
_NO_CURRENCY = "XXX"

Progress = Callable[[str, int, int], None]
"""Called with what is counted, how many are done, and how many there are in all."""


@dataclass(frozen=True, slots=True)
class VipEntry:
    """A client whose status or day of review changes, and why.

    Attributes:
        client_id: The client.
        name: Its name, for people.
        review: What the review found.
        is_written: Whether its profile was written.
    """

    client_id: str
    name: str | None
    review: VipReview
    is_written: bool


class Gap(NamedTuple):
    """Why nobody can say whether a client is a VIP.

    Attributes:
        reasons: What is missing.
        latest_on: The latest month of which there are figures; None = there are none.
    """

    reasons: tuple[VipReason, ...]
    latest_on: date | None


@dataclass(frozen=True, slots=True)
class VipSummary:
    """What a review of all clients found.

    Attributes:
        spec: Who is a VIP by the policy in force.
        currency: ISO code of all amounts; None when the data names none.
        entries: Clients granted, kept and revoked, by client_id.
        n_clients: Clients by outcome.
        n_gaps: Undecided clients by what is missing.
        n_conflicts: Clients whose profile was changed by somebody else meanwhile; review again.
    """

    spec: VipSpec
    currency: str | None
    entries: tuple[VipEntry, ...]
    n_clients: Mapping[VipOutcome, int]
    n_gaps: Mapping[Gap, int]
    n_conflicts: int


def review_all(
    store: Store,
    now: datetime,
    zone: ZoneInfo,
    is_applied: bool = False,
    progress: Progress = lambda _what, _n_done, _n_all: None,
) -> VipSummary:
    """Review every client that has a profile, chunk by chunk, beside a serving server.

    Args:
        store: Where the clients live.
        now: The present instant.
        zone: The day of the review is the day in this zone.
        is_applied: Whether granted, kept and revoked clients get a new version of their profile.
        progress: Told after each chunk.

    Raises:
        ConfigError: No policy is in force, or it does not say who is a VIP.
    """
    spec = _spec_in_force(store, now)
    today = now.astimezone(zone).date()
    entries: list[VipEntry] = []
    n_clients: Counter[VipOutcome] = Counter()
    n_gaps: Counter[Gap] = Counter()
    n_done, n_all, after = 0, store.count_keys("clients"), ""
    while states := store.client_states(after, _CLIENTS_AT_ONCE):
        reviews = [(state, review_vip(state, spec, today)) for state in states if state.profile is not None]
        n_clients.update(review.outcome for _, review in reviews)
        n_gaps.update(
            _gap(state, review) for state, review in reviews if review.outcome is VipOutcome.UNDECIDED
        )
        changes = [(state, review) for state, review in reviews if review.is_change]
        written = _write(store, changes, today, now) if is_applied else [False] * len(changes)
        entries += [
            VipEntry(state.client_id, state.profile.name if state.profile else None, review, is_written)
            for (state, review), is_written in zip(changes, written, strict=True)
        ]
        after, n_done = states[-1].client_id, n_done + len(reviews)
        progress("clients", n_done, max(n_all, n_done))
    n_conflicts = sum(not entry.is_written for entry in entries) if is_applied else 0
    return VipSummary(spec, _currency(store), tuple(entries), dict(n_clients), dict(n_gaps), n_conflicts)


def _currency(store: Store) -> str | None:
    currency = str(tomllib.loads(store.documents().get("dataset.toml", "")).get("currency", _NO_CURRENCY))
    return None if currency == _NO_CURRENCY else currency


def _gap(state: ClientState, review: VipReview) -> Gap:
    months = state.history.months
    return Gap(review.reasons, months[-1].month_on if months else None)


def _spec_in_force(store: Store, now: datetime) -> VipSpec:
    version = store.policy_in_force(now)
    if version is None:
        raise ConfigError("no policy is in force; publish one with `recsys-serve policy publish DIR`")
    spec = sound_policy(version.documents, store.catalogue(now).offers).policy.vip
    if spec is None:
        raise ConfigError(
            f"policy {version.version} has no vip.yaml, which says who is a VIP; publish one with it"
        )
    return spec


def _write(
    store: Store, changes: list[tuple[ClientState, VipReview]], today: date, now: datetime
) -> list[bool]:
    """Write the reviewed profiles; for each whether it was written: not if somebody changed it meanwhile."""
    writes = [
        PutClient(
            state.client_id,
            reviewed_profile(state.profile, review, today),
            now,
            reason=review.sentence,
            replaces=state.profile,
        )
        for state, review in changes
        if state.profile is not None
    ]
    results = store.commit(writes)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, ConflictError):
            raise result
    return [not isinstance(result, ConflictError) for result in results]
