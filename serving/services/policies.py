"""Use cases: publish the operator's policy as versions that never change, withdraw and find them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from recsys.data.documents import POLICY_DOCUMENTS
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.engine import ONLY_PLACEMENT
from recsys.decision.policy.check import check_policy
from recsys.decision.policy.policy import Policy
from recsys.decision.policy.read import policy_from_documents, read_policy
from recsys.domain import Offer
from recsys.errors import ConfigError, ConflictError, InvalidPolicyError, UnknownPolicyError
from serving.orders import PolicyVersion, standing_policies
from serving.ports import Store
from serving.services.moments import effective_from
from serving.telemetry import log

_SHORTEST_VERSION = 4


@dataclass(frozen=True, slots=True)
class Publication:
    """How a policy is to be published.

    Attributes:
        author: Who publishes it.
        note: What is new, for people.
        effective_at: In force from here on; None = at once.
        place: Folder of the documents, for errors.
    """

    author: str
    note: str = ""
    effective_at: datetime | None = None
    place: str = ""


class SoundPolicy(NamedTuple):
    """A policy that can be used.

    Attributes:
        policy: What its documents say.
        warnings: What should be looked at all the same, one line for each.
    """

    policy: Policy
    warnings: tuple[str, ...]


class Published(NamedTuple):
    """A policy that was published.

    Attributes:
        version: As it is stored.
        warnings: What should be looked at, one line for each.
    """

    version: PolicyVersion
    warnings: tuple[str, ...]


def sound_policy(
    documents: Mapping[str, str], offers: Iterable[Offer], place: str = "", now: datetime | None = None
) -> SoundPolicy:
    """Documents as a policy that holds together and speaks only of offers that exist.

    Args:
        documents: Texts by file name.
        offers: The catalogue.
        place: Where the documents come from, for errors.
        now: Pins that are over by then are warned of; None = none is.

    Raises:
        InvalidPolicyError: One line for each fault: file, line, what is wrong, cure.
    """
    unknown = sorted(set(documents) - set(POLICY_DOCUMENTS))
    if unknown:
        raise InvalidPolicyError(
            f"{unknown[0]}: is no document of a policy; the documents are {', '.join(POLICY_DOCUMENTS)}"
        )
    try:
        files = read_policy(documents, place)
    except ConfigError as error:
        raise InvalidPolicyError(str(error)) from error
    found = check_policy(files.policy, CompiledCatalogue(offers), now=now)
    faults = [files.line(fault) for fault in found if not fault.is_warning]
    if faults:
        raise InvalidPolicyError("\n".join(faults))
    return SoundPolicy(files.policy, tuple(files.line(fault) for fault in found if fault.is_warning))


def publish_policy(
    store: Store, documents: Mapping[str, str], publication: Publication, now: datetime
) -> Published:
    """Publish documents as a version; the policy in force stays when they are refused.

    Raises:
        InvalidPolicyError: The documents have faults.
        InvalidRequestError: It is to take effect in the past.
    """
    effective_at = effective_from(publication.effective_at, now)
    policy, warnings = sound_policy(documents, store.catalogue(now).offers, publication.place, now)
    version = PolicyVersion(
        version=policy.version,
        documents=dict(documents),
        effective_at=effective_at,
        recorded_at=now,
        author=publication.author,
        note=publication.note,
    )
    dropped = dropped_placements(store, policy, effective_at)
    store.put_policy(version)
    return Published(version, (*dropped, *warnings))


def dropped_placements(store: Store, policy: Policy, effective_at: datetime) -> tuple[str, ...]:
    """A line for each placement that a policy lacks and the one before it has.

    Args:
        store: Where the policies live.
        policy: The policy.
        effective_at: When it takes over.
    """
    before = store.policy_in_force(effective_at)
    found = None if before is None else readable_policy(store, before, effective_at)
    known = set() if found is None else _placement_ids(found)
    return tuple(
        f"placements.yaml: placement {name!r} of the policy before it is gone: requests that name it get 404"
        for name in sorted(known - _placement_ids(policy))
    )


def _placement_ids(policy: Policy) -> set[str]:
    return {placement.placement_id for placement in policy.placements or ONLY_PLACEMENT}


def withdraw_policy(
    store: Store, version: str, author: str, now: datetime, note: str = ""
) -> tuple[PolicyVersion, ...]:
    """Call off what is announced of a version: what would be in force without it stays so.

    Args:
        store: Where the policies live.
        version: The version, or its first digits.
        author: Who says so.
        now: The present instant.
        note: Why, for people.

    Returns:
        The withdrawals, one for each moment it was announced for.

    Raises:
        UnknownPolicyError: There is no such version, or the digits fit several.
        ConflictError: It is announced for no moment that is still to come.
    """
    found = find_policy(store, version, now)
    announced = {
        each.effective_at: each
        for each in standing_policies(store.policies())
        if each.version == found.version and each.effective_at > now
    }
    if not announced:
        raise ConflictError(
            f"policy {found.version!r} is not announced for later; a policy that has taken effect is ended by"
            " publishing another one"
        )
    withdrawals = tuple(
        replace(each, recorded_at=now, author=author, note=note, is_withdrawal=True)
        for each in announced.values()
    )
    for each in withdrawals:
        store.put_policy(each)
    return withdrawals


def readable_policy(store: Store, wanted: PolicyVersion, now: datetime) -> Policy | None:
    """A policy that should be in force, or the last one before it that this program can read.

    Args:
        store: Where the policies live.
        wanted: The policy in force.
        now: The present instant.

    Returns:
        None where no policy that has taken effect can be read.
    """
    found = read_published(wanted)
    if found is not None:
        return found
    effective = [each for each in standing_policies(store.policies()) if each.effective_at <= now]
    # each version once, in the order of its last appearance
    earlier = {each.version: each for each in reversed(effective) if each.version != wanted.version}
    return next((policy for each in earlier.values() if (policy := read_published(each)) is not None), None)


def read_published(published: PolicyVersion) -> Policy | None:
    """A published policy; None where this program cannot read it, or not all of it."""
    unknown = sorted(set(published.documents) - set(POLICY_DOCUMENTS))
    try:
        policy = policy_from_documents(published.documents)
        cause = f"{unknown[0]}: is no document that this program knows" if unknown else ""
    except ConfigError as error:
        cause = str(error)
    if not cause:
        return policy
    log("policy_refused", level=logging.ERROR, cause=cause, policy=published.version)
    return None


def find_policy(store: Store, version: str | None, now: datetime) -> PolicyVersion:
    """The published policy of that version (its first digits will do), or the one in force.

    Raises:
        UnknownPolicyError: There is none, or the digits fit several.
    """
    if version is None:
        found = store.policy_in_force(now)
        if found is None:
            raise UnknownPolicyError("in force", "publish one with `recsys-serve policy publish DIR`")
        return found
    published = {each.version: each for each in store.policies() if not each.is_withdrawal}
    fitting = [known for known in published if known.startswith(version)]
    if len(version) < _SHORTEST_VERSION or len(fitting) != 1:
        raise UnknownPolicyError(version, "`recsys-serve policy list` names every version")
    return published[fitting[0]]


def write_documents(policy: PolicyVersion, out: Path) -> None:
    """Write a policy's documents as they were published, into a folder that is empty or new.

    Raises:
        ConfigError: The folder holds something, or cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ConfigError(f"{out} is not empty; name another folder")
        for name, text in policy.documents.items():
            (out / name).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror}") from error
