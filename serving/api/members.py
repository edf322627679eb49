"""What a member's browser may say: of its own client alone, and only as its token says.

A key may speak of every client. A browser's token names one client and one member; what a browser could
otherwise say of itself is checked against it, and what would tell it the operator's rules, or teach the
models what never happened, is refused.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256

import orjson
from fastapi import Request

from recsys.domain import MAX_ID_LENGTH, Event, EventId, EventType, MemberId
from recsys.errors import EventFault, ForbiddenError, InvalidEventsError
from serving.api.questions import EventsQuestion, RecommendationsQuestion
from serving.security.tokens import Member
from serving.services.answers import RequestKey
from serving.services.recommendation import Query
from serving.web.authentication import member_of

# What a person does on a page; a connection and its end are facts of the operator's own systems.
_MEMBER_EVENTS = frozenset(
    {
        EventType.IMPRESSION,
        EventType.CLICK,
        EventType.DISMISSAL,
        EventType.APPLICATION,
        EventType.COMPLAINT,
    }
)
# A page tells what happens as it happens, or when its browser is back on the network after some days. What
# is older could only be made up: it would rewrite what retention and the models count as settled.
_MAX_EVENT_AGE = timedelta(days=7)
# 96 bits: nobody finds a member whose space is another's.
_SPACE_LENGTH = 16


def own_query(request: Request, body: RecommendationsQuestion) -> Query:
    """The query of a question; of a member's browser one about its own client, in that member's name.

    Raises:
        ForbiddenError: A browser asks about another client, as another member, or for what is not its own.
    """
    query = body.to_query()
    member = member_of(request)
    if member is None:
        return query
    _check_own(member, body.client_id, body.member_id)
    if body.explain or body.profile is not None:
        raise ForbiddenError("a member token may send neither explain nor profile")
    if query.role not in (None, member.role):
        raise ForbiddenError(f"context.role: the member token says {member.role or 'no role'}")
    limit = member.spending_limit_minor
    if query.spending_limit_minor not in (None, limit):
        told = "no limit" if limit is None else limit
        raise ForbiddenError(f"context.spending_limit_minor: the member token says {told}")
    return replace(query, member_id=member.member_id, role=member.role, spending_limit_minor=limit)


def own_key(request: Request, request_id: str, digest: bytes) -> RequestKey:
    """What makes a request the same; of a member's browser one of this member, role and limit alone.

    Args:
        request: Of whom a right was checked.
        request_id: As it was sent.
        digest: SHA-256 of the body's content.
    """
    member = member_of(request)
    if member is None:
        return RequestKey(request_id, digest, request_id)
    said = orjson.dumps([member.member_id, member.role, member.spending_limit_minor])
    return RequestKey(request_id, sha256(digest + said).digest(), _own_id(member, request_id))


def own_events(request: Request, body: EventsQuestion, now: datetime) -> list[Event]:
    """The events of a question; of a member's browser its own alone, in that member's name.

    Args:
        request: Of whom a right was checked.
        body: The question.
        now: The present.

    Raises:
        ForbiddenError: One is of another client or member, or is not for a browser to tell.
        InvalidEventsError: One is too old to be told by a browser.
    """
    events = [event.to_event() for event in body.events]
    member = member_of(request)
    if member is None:
        return events
    for event in events:
        _check_own(member, event.client_id, event.member_id)
        if event.event_type not in _MEMBER_EVENTS:
            raise ForbiddenError(f"a member token may not tell of the event {event.event_type.value!r}")
    earliest = now - _MAX_EVENT_AGE
    told = f"a member token may tell of the last {_MAX_EVENT_AGE.days} days only"
    faults = [
        EventFault(index, event.event_id, "too_old", f"occurred_at {event.occurred_at.isoformat()}: {told}")
        for index, event in enumerate(events)
        if event.occurred_at < earliest
    ]
    if faults:
        raise InvalidEventsError(faults)
    member_id = MemberId(member.member_id)
    return [
        replace(event, event_id=EventId(_own_id(member, event.event_id)), member_id=member_id)
        for event in events
    ]


def named_as_sent(error: InvalidEventsError, body: EventsQuestion) -> InvalidEventsError:
    """The same faults, each with the id that its sender knows."""
    return InvalidEventsError(
        [replace(fault, event_id=body.events[fault.index].event_id) for fault in error.faults]
    )


def _own_id(member: Member, sent: str) -> str:
    """An id in a space of this member's own: no browser takes or tries out an id of anybody else.

    Example:
        >>> anna = Member("c-1", "m-1", None, None, "portal", 0.0)
        >>> _own_id(anna, "e-1")
        'm.Rbrw3uzYfgCdGRVw.e-1'
        >>> len(_own_id(anna, "e" * 64)) <= MAX_ID_LENGTH
        True
    """
    space = _short_digest(orjson.dumps([member.client_id, member.member_id]))[:_SPACE_LENGTH]
    prefix = f"m.{space}."
    # What does not fit beside the prefix is kept by its digest.
    fits = len(prefix) + len(sent) <= MAX_ID_LENGTH
    return prefix + (sent if fits else _short_digest(sent.encode()))


def _short_digest(content: bytes) -> str:
    """SHA-256 in 43 characters."""
    return urlsafe_b64encode(sha256(content).digest()).decode().rstrip("=")


def _check_own(member: Member, client_id: str, member_id: str | None) -> None:
    if client_id != member.client_id:
        raise ForbiddenError("a member token is for its own client_id only")
    if member_id not in (None, member.member_id):
        raise ForbiddenError("a member token is for its own member_id only")
