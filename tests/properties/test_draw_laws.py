"""Laws of the draws: probabilities that sum to one, constraints that hold, lists that do not re-roll."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import prod

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.decision.arbitration import Arbitration
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.constraints import ListRules, OpenList
from recsys.decision.exploration import DrawnList, Lottery, Roll, draw_list
from recsys.decision.policy.arbitration import ArbitrationSpec
from recsys.domain import Offer, OfferId, OfferKind
from recsys.placement import Exploration, ExplorationKind, Pin, Placement, SlotKind

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = tuple(OfferId(name) for name in "abcdef")
QUICK = settings(max_examples=60, deadline=None)


@dataclass(frozen=True)
class Case:
    """A list to draw."""

    offers: tuple[Offer, ...]
    priorities: tuple[float, ...]
    placement: Placement
    roll: Roll

    def rules(self) -> ListRules:
        return ListRules(CompiledCatalogue(self.offers), self.placement)

    def order(self) -> np.ndarray:
        return np.argsort(-np.array(self.priorities), kind="stable")

    def draw(self, candidates: np.ndarray | None = None) -> DrawnList:
        chosen = self.order() if candidates is None else candidates
        return draw_list(chosen, np.array(self.priorities), self.rules(), self.roll)

    def after(self, above: Sequence[int | None]) -> tuple[OpenList, Lottery]:
        """The list once the slots above were taken."""
        rules, values = self.rules(), np.array(self.priorities)
        slots = OpenList(rules, self.order(), values, self.roll.k, NOW)
        for slot, position in enumerate(above, start=1):
            slots.take(slot, position)
        return slots, Lottery(rules, slots, values, self.roll)

    def chances(self, above: Sequence[int | None]) -> np.ndarray:
        """By position, probabilities of the slot below."""
        slots, lottery = self.after(above)
        pinned = slots.pinned.get(len(above) + 1)
        if pinned is None:
            return lottery.chances(len(above) + 1)
        return np.eye(len(self.priorities))[pinned]


caps = st.sampled_from([None, None, 1, 2])
explorations = st.builds(
    Exploration,
    kind=st.sampled_from(ExplorationKind),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    temperature=st.sampled_from([0.05, 0.5, 1.0, 3.0]),
    new_offer_share=st.sampled_from([0.0, 0.2, 1.0]),
    new_offer_days=st.sampled_from([0, 30]),
)


@st.composite
def cases(draw: st.DrawFn, max_k: int = 3, *, with_rotation: bool = True) -> Case:
    n = draw(st.integers(1, 5))
    offers = tuple(
        Offer(
            name,
            kind=draw(st.sampled_from(OfferKind)),
            supplier_id=draw(st.sampled_from([None, "s", "t"])),
            need_group=draw(st.sampled_from([None, "g", "h"])),
            category=draw(st.sampled_from([None, "c"])),
            valid_from=draw(st.sampled_from([None, NOW - timedelta(days=5)])),
        )
        for name in NAMES[:n]
    )
    pins = st.builds(Pin, st.sampled_from(NAMES), st.integers(1, max_k))
    placement = Placement(
        "home",
        slots=tuple(draw(st.lists(st.sampled_from(SlotKind), max_size=3))),
        max_per_supplier=draw(caps),
        max_per_need_group=draw(caps),
        max_per_category=draw(caps),
        pins=tuple(draw(st.lists(pins, max_size=2))),
        least_priority=draw(st.sampled_from([0.0, 0.0, 0.2])),
        exploration=draw(explorations),
        rotation=draw(st.sampled_from([0.0, 0.1])) if with_rotation else 0.0,
    )
    priorities = st.sampled_from([0.0, 0.1, 0.48, 0.5, 0.5, 1.0])
    is_unknown = draw(st.none() | st.lists(st.booleans(), min_size=n, max_size=n).map(np.array))
    roll = Roll(
        draw(st.integers(0, max_k)), draw(st.integers(0, 2**63 - 1)), NOW, is_unknown, draw(st.booleans())
    )
    return Case(offers, tuple(draw(priorities) for _ in range(n)), placement, roll)


def all_lists(
    case: Case, above: tuple[int | None, ...] = ()
) -> Iterator[tuple[tuple[int | None, ...], float]]:
    """Every list that may be drawn, with its probability; None stands for a slot left empty."""
    if len(above) == case.roll.k:
        yield above, 1.0
        return
    chances = case.chances(above)
    choices: list[tuple[int | None, float]] = [
        (at, float(chances[at])) for at in np.flatnonzero(chances).tolist()
    ]
    for position, chance in choices or [(None, 1.0)]:
        for found, below in all_lists(case, (*above, position)):
            yield found, chance * below


def slots_of(case: Case, drawn: DrawnList) -> tuple[int | None, ...]:
    by_slot = {draw.slot: draw.position for draw in drawn.draws}
    return tuple(by_slot.get(slot) for slot in range(1, case.roll.k + 1))


@QUICK
@given(cases())
def test_each_draw_is_logged_with_its_probability_among_all_that_were_allowed(case: Case) -> None:
    drawn = case.draw()
    placed = slots_of(case, drawn)
    logged = {draw.slot: draw.logging_probability for draw in drawn.draws}
    for slot, position in enumerate(placed, start=1):
        chances = case.chances(placed[: slot - 1])
        assert (chances >= 0).all()
        if position is None:
            assert not chances.any()
            continue
        assert abs(chances.sum() - 1) < 1e-12
        assert logged[slot] == chances[position] > 0


@QUICK
@given(cases())
def test_the_lists_that_may_be_drawn_have_probabilities_that_sum_to_one(case: Case) -> None:
    lists = dict(all_lists(case))
    assert abs(sum(lists.values()) - 1) < 1e-12
    drawn = case.draw()
    assert abs(lists[slots_of(case, drawn)] - prod(draw.logging_probability for draw in drawn.draws)) < 1e-12


@QUICK
@given(cases())
def test_a_new_offer_that_is_allowed_has_its_share(case: Case) -> None:
    drawn = slots_of(case, case.draw())
    share = case.placement.exploration.new_offer_share if case.roll.is_random else 0.0
    days = case.placement.exploration.new_offer_days
    is_unknown = (
        np.zeros(len(case.offers), dtype=bool) if case.roll.is_unknown is None else case.roll.is_unknown
    )
    is_new = is_unknown | np.array([bool(days) and offer.valid_from is not None for offer in case.offers])
    for slot in range(1, case.roll.k + 1):
        slots, lottery = case.after(drawn[: slot - 1])
        if slot not in slots.pinned and (slots.allowed(slot) & is_new).any():
            assert lottery.chances(slot)[is_new].sum() >= share - 1e-12


@QUICK
@given(cases(max_k=5))
def test_every_constraint_holds_in_every_list(case: Case) -> None:
    drawn = case.draw()
    placement = case.placement
    shown = [(draw, case.offers[draw.position]) for draw in drawn.draws]
    assert len({draw.position for draw, _ in shown}) == len(shown) <= case.roll.k
    assert [draw.slot for draw, _ in shown] == sorted({draw.slot for draw, _ in shown})
    pinned = {(pin.slot, pin.offer_id) for pin in placement.pins}
    for draw, offer in shown:
        kind = placement.slots[draw.slot - 1] if draw.slot <= len(placement.slots) else SlotKind.ANY
        assert kind is SlotKind.ANY or (kind is SlotKind.OWN) == (offer.kind is OfferKind.OWN)
        is_pinned = (draw.slot, offer.offer_id) in pinned
        assert is_pinned or case.priorities[draw.position] >= placement.least_priority
    for most, names in (
        (placement.max_per_supplier, [offer.supplier_id for _, offer in shown]),
        (placement.max_per_need_group, [offer.need_group for _, offer in shown]),
        (placement.max_per_category, [offer.category for _, offer in shown]),
    ):
        counts = Counter(name for name in names if name is not None)
        assert most is None or all(count <= most for count in counts.values())


@QUICK
@given(cases(max_k=5))
def test_who_is_kept_out_is_not_shown_and_named_once(case: Case) -> None:
    drawn = case.draw()
    kept_out = [int(position) for group in drawn.kept_out for position in group.positions]
    shown = {draw.position for draw in drawn.draws}
    assert len(set(kept_out)) == len(kept_out)
    assert not shown & set(kept_out)
    placed = slots_of(case, drawn)
    if None in placed:
        assert set(kept_out) | shown == set(range(len(case.offers)))


@QUICK
@given(cases(max_k=5))
def test_a_refresh_and_another_order_of_the_catalogue_change_nothing(case: Case) -> None:
    again = replace(case, offers=tuple(reversed(case.offers)))
    assert case.draw().draws == case.draw().draws == again.draw().draws


@QUICK
@given(cases(max_k=5, with_rotation=False), st.sampled_from(NAMES))
def test_an_offer_that_goes_away_leaves_all_above_it_as_it_was(case: Case, gone: OfferId) -> None:
    """Above an offer that was not shown stands the whole list."""
    case = replace(case, placement=replace(case.placement, pins=()))
    position = NAMES.index(gone)
    before = slots_of(case, case.draw())
    after = slots_of(case, case.draw(case.order()[case.order() != position]))
    until = before.index(position) if position in before else len(before)
    assert after[:until] == before[:until]


@QUICK
@given(cases(max_k=5), st.sampled_from(NAMES), st.sampled_from([0.05, 1.0, 3.0]))
def test_under_softmax_the_others_keep_their_order(case: Case, gone: OfferId, temperature: float) -> None:
    exploration = Exploration(ExplorationKind.SOFTMAX, 1.0, temperature)
    case = replace(
        case,
        placement=Placement("home", exploration=exploration),
        roll=case.roll._replace(k=len(case.offers), is_random=True),
    )
    position = NAMES.index(gone)
    before = [draw.position for draw in case.draw().draws]
    after = [draw.position for draw in case.draw(case.order()[case.order() != position]).draws]
    assert after == [other for other in before if other != position]


@QUICK
@given(cases(), st.floats(-100, 300), st.floats(0, 100), st.floats(0, 1), st.floats(0, 1))
def test_priorities_rise_with_probability_and_weight(
    case: Case, weight: float, more: float, low: float, high: float
) -> None:
    def priority(given_weight: float, chance: float) -> float:
        rule = {
            "id": "one",
            "when": {"field": "stage", "is": "growth"},
            "offers": ["a"],
            "weight": given_weight,
        }
        spec = ArbitrationSpec.model_validate({"context_weights": [rule]})
        of = Arbitration(CompiledCatalogue(case.offers), spec)
        n = len(case.offers)
        estimated = np.full(n, 0.5)
        estimated[0] = chance
        found = of.factors(estimated, np.zeros(n, dtype=np.int8), of.context(bytes([True])))
        assert (found.priority[1:] == 0.5).all()
        assert found.context[0] >= 0
        return float(found.priority[0])

    low, high = sorted((low, high))
    assert 0 <= priority(weight, low) <= priority(weight, high)
    assert priority(weight, high) <= priority(min(300, weight + more), high)
