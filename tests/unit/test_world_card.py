"""The card of a world, counted by hand from two clients, one supplier and a handful of events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys.data.write import conform
from recsys.simulation.card import Card, make_card
from recsys.simulation.tails import hill
from recsys.tables import TABLES
from training.pipelines.worlds.card import render_card

ZONE = "Europe/Moscow"
HOUR = timedelta(hours=1)


def at(month: int, day: int, hour: int = 9) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def event(number: int, kind: str, when: datetime, **values: object) -> dict[str, object]:
    row = {"event_id": f"e{number}", "event_type": kind, "client_id": "c1", "occurred_at": when}
    return {**row, "recorded_at": when, "offer_id": "a", "decision_id": "d1", "slot": 1, **values}


def decision(name: str, client: str, when: datetime, policy: str) -> dict[str, object]:
    row = {"decision_id": name, "client_id": client, "placement_id": "home", "seed": 1}
    return {**row, "occurred_at": when, "recorded_at": when, "policy_version": policy}


def version(client: str, since: datetime, stage: str, size: str) -> dict[str, object]:
    row = {"client_id": client, "valid_from": since, "recorded_at": since, "stage": stage, "size": size}
    return {**row, "industry": "G"}


def holding(number: int, client: str, since: datetime, by: str, **values: object) -> dict[str, object]:
    row = {"holding_id": f"h{number}", "client_id": client, "offer_id": "a", "connected_at": since}
    return {**row, "recorded_at": since + HOUR, "connected_by": by, **values}


ROWS: Mapping[str, list[dict[str, object]]] = {
    "clients": [
        version("c1", at(1, 1), "mature", "small"),
        version("c2", at(1, 1), "growth", "micro"),
        version("c2", at(3, 10), "churned", "micro"),
        version("c2", at(3, 20), "reactivated", "micro"),
    ],
    "client_months": [
        {
            "client_id": client,
            "month_on": date(2026, month, 1),
            "known_at": at(month + 1, 1),
            "spend_minor": 100,
        }
        for client in ("c1", "c2")
        for month in (2, 3)
    ],
    "members": [],
    "offers": [
        {"offer_id": "a", "kind": "own", "recorded_at": at(1, 1), "supplier_id": "s", "category": "iot"},
        {"offer_id": "b", "kind": "own", "recorded_at": at(3, 1), "supplier_id": "s", "valid_from": at(3, 5)},
        {"offer_id": "c", "kind": "own", "recorded_at": at(3, 1), "supplier_id": "s", "valid_to": at(3, 5)},
    ],
    "offer_relations": [],
    "offer_prices": [
        {"offer_id": "a", "period": "month", "amount_minor": amount, "recorded_at": at(month, 1)}
        for month, amount in ((1, 100), (3, 120))
    ],
    "holdings": [
        holding(1, "c1", at(1, 5), "client"),
        holding(2, "c1", at(2, 11), "portal"),
        holding(3, "c2", at(3, 3), "manager"),
        holding(3, "c2", at(3, 3), "manager", disconnected_at=at(3, 10), recorded_at=at(3, 11)),
    ],
    "decisions": [
        decision("d1", "c1", at(2, 10), "best-1"),
        decision("d2", "c2", at(3, 15), "random-1"),
    ],
    "decision_items": [
        {"decision_id": "d1", "slot": 1, "offer_id": "a", "change": "new", "logging_probability": 1.0},
        {"decision_id": "d1", "slot": 2, "offer_id": "b", "change": "renew", "logging_probability": 1.0},
        {"decision_id": "d2", "slot": 1, "offer_id": "a", "change": "new", "logging_probability": 0.5},
    ],
    "events": [
        event(1, "impression", at(2, 10)),
        event(2, "impression", at(2, 10), offer_id="b", slot=2),
        event(3, "impression", at(2, 10), recorded_at=at(2, 10) + 3 * HOUR),  # the first one again, late
        event(4, "activation", at(2, 11)),
        event(5, "click", at(3, 15), client_id="c2", decision_id="d2"),  # its impression was lost
        event(6, "complaint", at(3, 16), client_id="c2", decision_id="d2"),
        event(7, "impression", at(3, 30), client_id="c2", decision_id="d3"),  # its window is open
    ],
}


@pytest.fixture(scope="module")
def card() -> Card:
    tables = {
        table.name: conform(pl.DataFrame(ROWS[table.name]), table)
        if ROWS.get(table.name)
        else pl.DataFrame(schema=dict.fromkeys(table.column_names, pl.String))
        for table in TABLES
    }
    return make_card(tables, ZONE)


def test_counts(card: Card) -> None:
    assert (card.n_clients, card.n_offers, card.n_holdings, card.n_decisions, card.n_events) == (
        2,
        3,
        3,
        2,
        7,
    )


def test_acceptance_counts_closed_windows_and_every_slot_once(card: Card) -> None:
    assert card.acceptance == 1 / 2


def test_adding_counts_client_months(card: Card) -> None:
    assert card.adding == 2 / 4
    assert [(month.month_on.month, month.n_clients, month.adding) for month in card.months] == [
        (2, 2, 0.5),
        (3, 2, 0.5),
    ]
    assert [month.acceptance for month in card.months] == [0.5, None]


def test_channels_count_what_was_connected_within_the_months(card: Card) -> None:
    assert card.channels == {"manager": 0.5, "portal": 0.5}


def test_the_log_falls_short_in_three_ways(card: Card) -> None:
    assert card.quality.lost == 1 / 2
    assert (card.quality.late, card.quality.duplicate) == (pytest.approx(1 / 7), pytest.approx(1 / 7))


def test_comings_and_goings(card: Card) -> None:
    changes = card.changes
    assert (changes.n_contracts_ended, changes.n_returned, changes.leaving) == (1, 1, 1 / 4)
    assert (changes.n_offers_new, changes.n_offers_withdrawn, changes.n_price_changes) == (1, 1, 1)


def test_segments_hold_at_the_first_midnight_of_a_month(card: Card) -> None:
    stages = {segment.name: segment for segment in card.segments["stage"]}
    assert set(stages) == {"mature", "growth"}
    assert (stages["mature"].share, stages["mature"].exposures, stages["mature"].adding) == (0.5, 1.0, 0.5)
    assert (stages["mature"].acceptance, stages["growth"].acceptance) == (0.5, None)


def test_reach_counts_what_is_still_held(card: Card) -> None:
    assert card.reach["size"] == {"micro": {}, "small": {"iot": 1.0}}


def test_policies_come_in_their_order_and_a_deterministic_one_shows(card: Card) -> None:
    assert [(policy.version, policy.certain) for policy in card.policies] == [
        ("best-1", 1.0),
        ("random-1", 0.0),
    ]
    assert [policy.first_on for policy in card.policies] == [date(2026, 2, 1), date(2026, 3, 1)]


def test_impressions_are_told_apart_by_what_they_would_change(card: Card) -> None:
    assert [(one.change, one.share, one.acceptance) for one in card.shown] == [
        ("new", 0.5, 1.0),
        ("renew", 0.5, 0.0),
    ]


def test_complaints_stand_beside_impressions(card: Card) -> None:
    assert [
        (supplier.supplier_id, supplier.n_impressions, supplier.n_complaints) for supplier in card.suppliers
    ] == [("s", 3, 1)]


def test_the_card_is_readable_where_little_is_known(card: Card) -> None:
    text = render_card(card)
    assert "activations per impression" in text
    assert "nan" not in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("index", [1.2, 2.5])
def test_hill_finds_the_index_of_a_pareto_sample(index: float) -> None:
    sample = np.random.default_rng(20260101).pareto(index, 20_000) + 1
    tail = hill(sample)
    assert tail.n_largest == 600
    assert abs(tail.index - index) <= 3 * tail.standard_error


@pytest.mark.parametrize("values", [[], [1.0] * 1000, list(range(1, 150)), [-1.0, 0.0] * 500])
def test_hill_says_nothing_of_too_little(values: list[float]) -> None:
    assert np.isnan(hill(values).index)
