"""Offers that cannot be had whatever the rules' conditions say: prerequisites, caps of none, placements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.constraints import ListRules
from recsys.decision.policy.policy import Policy
from recsys.decision.policy.read import PolicyFault
from recsys.placement import Placement

_MOST_NAMES = 5


def offers_out_of_reach(
    policy: Policy, catalogue: CompiledCatalogue, impossible: Set[int]
) -> Iterator[PolicyFault]:
    """Warnings of offers that nobody can get, or that no placement ever shows.

    Args:
        policy: The policy.
        catalogue: The offers.
        impossible: Positions of what rules keep from everybody, which is told elsewhere.
    """
    is_closed = np.zeros(len(catalogue), dtype=bool)
    for document, path, at_most, mask in _caps(policy, catalogue):
        if at_most == 0 and mask.any():
            is_closed |= mask
            names = _listed([catalogue.offer_ids[position] for position in np.flatnonzero(mask)])
            message = f"nobody can get {names}: the cap lets nothing through; raise at_most or stop the offer"
            yield PolicyFault(document, path, message, is_warning=True)
    closed = {*impossible, *np.flatnonzero(is_closed).tolist()}
    yield from _without_prerequisite(catalogue, closed)
    yield from _never_shown(policy, catalogue)


def _caps(
    policy: Policy, catalogue: CompiledCatalogue
) -> Iterator[tuple[str, tuple[str | int, ...], int, NDArray[np.bool_]]]:
    """The caps that hold everywhere: document, path, at_most and offers."""
    for number, cap in enumerate(policy.engagement.volume_caps):
        path = ("volume_caps", number, "at_most")
        yield "engagement.yaml", path, cap.at_most, cap.offers.mask(catalogue)
    for number, contact in enumerate(policy.contact.caps):
        everywhere = {placement.placement_id for placement in policy.placements} <= {*contact.placements}
        if not contact.placements or (policy.placements and everywhere):
            path = ("caps", number, "at_most")
            yield "contact.yaml", path, contact.at_most, contact.offers.mask(catalogue)


def _without_prerequisite(catalogue: CompiledCatalogue, closed: Set[int]) -> Iterator[PolicyFault]:
    """Offers whose prerequisites nobody can connect; who has one from before still can."""
    open_ids: set[str] = set()
    n_before = -1
    while len(open_ids) > n_before:
        n_before = len(open_ids)
        open_ids |= {
            offer.offer_id
            for position, offer in enumerate(catalogue.offers)
            if position not in closed
            and not offer.is_stopped
            and not any(open_ids.isdisjoint(group) for group in offer.requires)
        }
    for position, offer in enumerate(catalogue.offers):
        if offer.is_stopped or position in closed:
            continue
        for group in offer.requires:
            if open_ids.isdisjoint(group):
                message = (
                    f"nobody can get {offer.offer_id!r} without having {_listed(group)} already, which nobody"
                    f" can connect; open one of these or stop {offer.offer_id!r}"
                )
                yield PolicyFault("engagement.yaml", (), message, is_warning=True)
                break


def _never_shown(policy: Policy, catalogue: CompiledCatalogue) -> Iterator[PolicyFault]:
    if not policy.placements:
        return
    is_shown = np.zeros(len(catalogue), dtype=bool)
    for placement in policy.placements:
        is_shown |= _taken(placement, catalogue)
    hidden = [offer for offer, shown in zip(catalogue.offers, is_shown, strict=True) if not shown]
    if names := [offer.offer_id for offer in hidden if not offer.is_stopped]:
        message = (
            f"no placement ever shows {_listed(names)}: none takes its kind; widen kinds or slots of one"
        )
        yield PolicyFault("placements.yaml", ("placements",), message, is_warning=True)


def _taken(placement: Placement, catalogue: CompiledCatalogue) -> NDArray[np.bool_]:
    """By position, whether some slot of the longest list takes the offer."""
    rules, everything = ListRules(catalogue, placement), np.arange(len(catalogue))
    listed, _ = rules.narrow(everything, None)
    is_taken = np.zeros(len(catalogue), dtype=bool)
    for slot in range(1, placement.max_k + 1):
        takes = rules.takes.get(slot)
        is_taken |= True if takes is None else takes
    is_listed = np.zeros(len(catalogue), dtype=bool)
    is_listed[listed] = True
    found: NDArray[np.bool_] = is_listed & is_taken
    return found


def _listed(names: Sequence[str]) -> str:
    """Names in quotes, of many the first ones.

    Example:
        >>> _listed(["a", "b"]), _listed(["a", "b", "c", "d", "e", "f", "g"])
        ("'a', 'b'", "'a', 'b', 'c', 'd', 'e' and 2 more")
    """
    told = ", ".join(repr(name) for name in names[:_MOST_NAMES])
    return f"{told} and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else told
