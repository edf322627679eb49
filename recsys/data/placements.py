"""The places of a portal that show lists, read from ``placements.yaml``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from recsys.config import RunConfig
from recsys.data.documents import YamlDocument
from recsys.domain import MAX_ID_LENGTH, OfferId, OfferKind
from recsys.errors import ConfigError
from recsys.placement import Exploration, ExplorationKind, Pin, Placement, SlotKind

_LONGEST_LIST = 500
_LOWEST_TEMPERATURE = 0.05

_Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]
_Share = Annotated[float, Field(ge=0, le=1)]
_AtMost = Annotated[int, Field(ge=1, le=_LONGEST_LIST)]
# The reader of YAML has a type of its own for moments.
_Moment = Annotated[AwareDatetime, AfterValidator(lambda at: datetime.fromtimestamp(at.timestamp(), UTC))]


class _PinEntry(RunConfig):
    offer: _Id
    slot: int = Field(ge=1, le=_LONGEST_LIST)
    from_at: _Moment | None = None
    until_at: _Moment | None = None


class _ExplorationEntry(RunConfig):
    kind: ExplorationKind = ExplorationKind.NONE
    share: _Share | None = None
    temperature: float = Field(default=1.0, ge=_LOWEST_TEMPERATURE, le=100)
    new_offer_share: _Share = 0.0
    new_offer_days: int = Field(default=0, ge=0, le=365)


class _PlacementEntry(RunConfig):
    id: _Id
    k: int = Field(default=5, ge=1, le=_LONGEST_LIST)
    max_k: int = Field(default=50, ge=1, le=_LONGEST_LIST)
    kinds: tuple[OfferKind, ...] = ()
    slots: tuple[SlotKind, ...] = ()
    max_per_supplier: _AtMost | None = None
    max_per_need_group: _AtMost | None = None
    max_per_category: _AtMost | None = None
    pins: tuple[_PinEntry, ...] = ()
    least_priority: float = Field(default=0.0, ge=0)
    exploration: _ExplorationEntry | None = None
    exploration_share: _Share | None = None
    rotation: _Share = 0.0


class PlacementsFile(RunConfig):
    """The document as it stands in ``placements.yaml``."""

    placements: tuple[_PlacementEntry, ...] = Field(min_length=1)


def placements_from_yaml(text: str, place: str) -> tuple[Placement, ...]:
    """Read placements.

    ``exploration_share: x`` is short for ``exploration: {kind: epsilon, share: x}``.

    Args:
        text: Content of ``placements.yaml``.
        place: Where it comes from, for errors.

    Returns:
        The placements in the order of the file.

    Raises:
        ConfigError: Something in the text is wrong; one line per fault, each with file, line and cure.

    Example:
        >>> [placement.k for placement in placements_from_yaml("placements: [{id: home, k: 3}]", "text")]
        [3]
    """
    document = YamlDocument(text, place)
    entries = document.read(PlacementsFile).placements
    faults: list[str] = []
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        found = list(_faults_of(entry))
        if entry.id in seen:
            found.append((("id",), f"placement {entry.id!r} stands twice; rename or remove one"))
        seen.add(entry.id)
        faults += [str(document.error(("placements", index, *path), what)) for path, what in found]
    if faults:
        raise ConfigError("\n".join(faults))
    return tuple(_placement_of(entry) for entry in entries)


def _faults_of(entry: _PlacementEntry) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What no single field shows: where, and what to do about it."""
    if entry.k > entry.max_k:
        yield ("k",), f"k = {entry.k} is above max_k = {entry.max_k}; lower k or raise max_k"
    if len(entry.slots) > entry.max_k:
        yield ("slots",), f"{len(entry.slots)} slots are named, max_k is {entry.max_k}; remove some"
    for index, kind in enumerate(entry.slots):
        if entry.kinds and not any(_takes(kind, shown) for shown in entry.kinds):
            yield (
                ("slots", index),
                f"slot {index + 1} takes {kind.value} offers, which kinds leaves out; change one",
            )
    yield from _pin_faults(entry)
    if entry.exploration is not None:
        yield from _exploration_faults(entry.exploration)
        if entry.exploration_share is not None:
            yield ("exploration_share",), "exploration is given as well; remove exploration_share"


def _pin_faults(entry: _PlacementEntry) -> Iterator[tuple[tuple[str | int, ...], str]]:
    undated: set[int] = set()
    for index, pin in enumerate(entry.pins):
        if pin.slot > entry.max_k:
            yield ("pins", index, "slot"), f"slot {pin.slot} is beyond max_k = {entry.max_k}; lower it"
        if pin.from_at is not None and pin.until_at is not None and pin.from_at >= pin.until_at:
            yield ("pins", index, "until_at"), "until_at is not after from_at; correct one of them"
        if pin.from_at is None and pin.until_at is None:
            if pin.slot in undated:
                message = f"another pin without dates has slot {pin.slot}; give dates or choose another slot"
                yield ("pins", index, "slot"), message
            undated.add(pin.slot)


def _exploration_faults(entry: _ExplorationEntry) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if entry.kind is ExplorationKind.EPSILON and entry.share is None:
        yield ("exploration",), "field 'share' is missing; add it"
    if entry.kind is ExplorationKind.NONE and entry.share:
        yield ("exploration", "share"), "nothing is drawn by kind none; name a kind or remove share"
    if entry.kind is not ExplorationKind.SOFTMAX and "temperature" in entry.model_fields_set:
        yield ("exploration", "temperature"), "only kind softmax has a temperature; remove it"
    if entry.new_offer_days and not entry.new_offer_share:
        yield ("exploration", "new_offer_days"), "new_offer_share is missing; add it"


def _takes(slot: SlotKind, kind: OfferKind) -> bool:
    return slot is SlotKind.ANY or (slot is SlotKind.OWN) == (kind is OfferKind.OWN)


def _placement_of(entry: _PlacementEntry) -> Placement:
    return Placement(
        placement_id=entry.id,
        k=entry.k,
        max_k=entry.max_k,
        kinds=entry.kinds,
        slots=entry.slots,
        max_per_supplier=entry.max_per_supplier,
        max_per_need_group=entry.max_per_need_group,
        max_per_category=entry.max_per_category,
        pins=tuple(Pin(OfferId(pin.offer), pin.slot, pin.from_at, pin.until_at) for pin in entry.pins),
        least_priority=entry.least_priority,
        exploration=_exploration_of(entry),
        rotation=entry.rotation,
    )


def _exploration_of(entry: _PlacementEntry) -> Exploration:
    given = entry.exploration
    if given is None:
        share = entry.exploration_share or 0.0
        return Exploration(ExplorationKind.EPSILON, share) if share > 0 else Exploration()
    share = given.share if given.share is not None else float(given.kind is ExplorationKind.SOFTMAX)
    return Exploration(given.kind, share, given.temperature, given.new_offer_share, given.new_offer_days)
