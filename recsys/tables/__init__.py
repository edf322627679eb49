"""The table contracts: names, columns, types, units, nullability.

Training and serving meet in these tables and nowhere else but the bundle. A dataset is a folder of
``<table>.parquet`` or ``<table>.csv`` files (or the same tables in a database) and an optional
``dataset.toml``. Optional tables and columns may be missing; a model that needs one says so.

Two time stamps stand in most tables: ``occurred_at`` (when it happened) and ``recorded_at`` (when it
was known). Cutting at as_of cuts on ``recorded_at``, so late data cannot leak. A row with the same key
and a later ``recorded_at`` replaces the earlier one.
"""

from __future__ import annotations

from recsys.tables.contract import Column, ColumnType, Table
from recsys.tables.every import REQUIRED_TABLES, TABLES, table_named
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
    EXPERIMENT_STATUSES,
    EXPERIMENTS,
    SHADOW_DECISIONS,
)

__all__ = [
    "ASSIGNMENTS",
    "CLIENTS",
    "CLIENT_MONTHS",
    "DECISIONS",
    "DECISION_ITEMS",
    "EVENTS",
    "EXPERIMENTS",
    "EXPERIMENT_STATUSES",
    "HOLDINGS",
    "MEMBERS",
    "OFFERS",
    "OFFER_PRICES",
    "OFFER_RELATIONS",
    "REQUIRED_TABLES",
    "SHADOW_DECISIONS",
    "TABLES",
    "Column",
    "ColumnType",
    "Table",
    "table_named",
]
