"""The places of a portal that show lists, read from ``placements.yaml``."""

from __future__ import annotations

from pydantic import Field

from recsys.config import RunConfig
from recsys.data.documents import YamlDocument
from recsys.domain import MAX_ID_LENGTH, OfferKind, Placement

_LONGEST_LIST = 500


class _PlacementEntry(RunConfig):
    id: str = Field(min_length=1, max_length=MAX_ID_LENGTH)
    k: int = Field(default=5, ge=1, le=_LONGEST_LIST)
    max_k: int = Field(default=50, ge=1, le=_LONGEST_LIST)
    kinds: tuple[OfferKind, ...] = ()
    exploration_share: float = Field(default=0.0, ge=0, le=1)


class _PlacementsFile(RunConfig):
    placements: tuple[_PlacementEntry, ...] = Field(min_length=1)


def placements_from_yaml(text: str, place: str) -> tuple[Placement, ...]:
    """Read placements.

    Args:
        text: Content of ``placements.yaml``.
        place: Where it comes from, for errors.

    Returns:
        The placements in the order of the file.

    Raises:
        ConfigError: Something in the text is wrong; file, line and cure are named.

    Example:
        >>> [placement.k for placement in placements_from_yaml("placements: [{id: home, k: 3}]", "text")]
        [3]
    """
    document = YamlDocument(text, place)
    entries = document.read(_PlacementsFile).placements
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        path = ("placements", index)
        if entry.id in seen:
            raise document.error((*path, "id"), f"placement {entry.id!r} stands twice; rename or remove one")
        if entry.k > entry.max_k:
            raise document.error(
                (*path, "k"), f"k = {entry.k} is above max_k = {entry.max_k}; lower k or raise max_k"
            )
        seen.add(entry.id)
    return tuple(
        Placement(
            placement_id=entry.id,
            k=entry.k,
            max_k=entry.max_k,
            kinds=entry.kinds,
            exploration_share=entry.exploration_share,
        )
        for entry in entries
    )
