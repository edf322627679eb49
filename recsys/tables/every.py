"""All table contracts together."""

from __future__ import annotations

from recsys.tables.contract import Table
from recsys.tables.facts import (
    CLIENT_MONTHS,
    CLIENTS,
    HOLDINGS,
    MEMBERS,
    OFFER_PRICES,
    OFFER_RELATIONS,
    OFFERS,
)
from recsys.tables.log import (
    ASSIGNMENTS,
    DECISION_ITEMS,
    DECISIONS,
    EVENTS,
    EXPERIMENTS,
    SHADOW_DECISIONS,
)

TABLES: tuple[Table, ...] = (
    CLIENTS,
    CLIENT_MONTHS,
    MEMBERS,
    OFFERS,
    OFFER_RELATIONS,
    OFFER_PRICES,
    HOLDINGS,
    DECISIONS,
    DECISION_ITEMS,
    EVENTS,
    EXPERIMENTS,
    ASSIGNMENTS,
    SHADOW_DECISIONS,
)
REQUIRED_TABLES: tuple[Table, ...] = (CLIENTS, OFFERS, HOLDINGS)


def table_named(name: str) -> Table:
    """The contract of that table; KeyError names the known ones."""
    for table in TABLES:
        if table.name == name:
            return table
    raise KeyError(f"no table {name!r}; known: {', '.join(table.name for table in TABLES)}")
