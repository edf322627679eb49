"""Policies instead of placements, stops of offers, reviews of VIPs, and all that replays a decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

from serving.storage.types import Instant, Texts, exact_text, id_text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PLACEMENTS = sa.table(
    "placements",
    sa.column("placement_id", sa.String),
    sa.column("k", sa.Integer),
    sa.column("max_k", sa.Integer),
    sa.column("kinds", Texts),
    sa.column("exploration_share", sa.Double),
)
_DOCUMENTS = sa.table("documents", sa.column("name", sa.String), sa.column("content", sa.Text))
_IS_OF_POLICY = _DOCUMENTS.c.name == "placements.yaml"
_LOADS = sa.table("loads", sa.column("source", sa.String))
_IS_CAPPED = sa.text("event_type IN ('application', 'activation')")


def upgrade() -> None:
    """Make of the placements the first version of a policy."""
    policies = op.create_table(
        "policies",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("version", id_text(), nullable=False),
        sa.Column("documents", sa.Text, nullable=False),
        sa.Column("effective_at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("author", exact_text(), nullable=False),
        sa.Column("note", exact_text(), nullable=False),
        sa.Column("is_withdrawal", sa.Boolean, nullable=False),
    )
    op.create_index("ix_policies_effective_at", "policies", ["effective_at"])
    op.create_table(
        "offer_stops",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("offer_id", id_text(), nullable=False),
        sa.Column("is_stopped", sa.Boolean, nullable=False),
        sa.Column("reason", exact_text(), nullable=False),
        sa.Column("author", exact_text(), nullable=False),
        sa.Column("effective_at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
    )
    op.create_index("ix_offer_stops_effective_at", "offer_stops", ["effective_at"])
    op.create_table(
        "catalogues",
        sa.Column("version", id_text(), nullable=False),
        sa.Column("offers", sa.Text, nullable=False),
        sa.Column("used_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_catalogues"),
    )
    op.create_index(
        "ix_events_capped",
        "events",
        ["event_type", "occurred_at", "offer_id"],
        sqlite_where=_IS_CAPPED,
        postgresql_where=_IS_CAPPED,
    )
    op.add_column("clients", sa.Column("vip_reviewed_on", sa.Date))
    op.add_column("clients", sa.Column("change_reason", exact_text()))
    op.add_column("decisions", sa.Column("request", sa.Text))
    documents = _documents()
    if documents:
        now = datetime.now(UTC)
        first = {
            "version": _version_of(documents),
            "documents": orjson.dumps(documents, option=orjson.OPT_SORT_KEYS).decode(),
            "effective_at": now,
            "recorded_at": now,
            "author": "migrate",
            "note": "the placements that were stored before there were policies",
            "is_withdrawal": False,
        }
        op.execute(sa.insert(policies).values(first))
        op.execute(sa.delete(_DOCUMENTS).where(_IS_OF_POLICY))
        op.execute(sa.delete(_LOADS).where(_LOADS.c.source == "placements"))
    op.drop_table("placements")


def downgrade() -> None:
    """The table of placements again, empty: `recsys-serve load` fills it."""
    op.create_table(
        "placements",
        sa.Column("placement_id", id_text(), nullable=False),
        sa.Column("k", sa.Integer, nullable=False),
        sa.Column("max_k", sa.Integer, nullable=False),
        sa.Column("kinds", Texts, nullable=False),
        sa.Column("exploration_share", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("placement_id", name="pk_placements"),
    )
    op.drop_column("decisions", "request")
    op.drop_column("clients", "change_reason")
    op.drop_column("clients", "vip_reviewed_on")
    op.drop_index("ix_events_capped", "events")
    op.drop_table("catalogues")
    op.drop_table("offer_stops")
    op.drop_table("policies")


def _documents() -> dict[str, str]:
    """The policy's documents: as they were loaded, or written anew from the placements."""
    connection = op.get_bind()
    stored = {row.name: row.content for row in connection.execute(sa.select(_DOCUMENTS).where(_IS_OF_POLICY))}
    placed = connection.execute(sa.select(_PLACEMENTS).order_by(_PLACEMENTS.c.placement_id)).mappings().all()
    if placed:
        stored.setdefault("placements.yaml", _placements_text([dict(row) for row in placed]))
    return stored


def _version_of(documents: Mapping[str, str]) -> str:
    """The digest of documents by which a policy is known."""
    digest = sha256()
    for name, text in sorted(documents.items()):
        for part in (name.encode(), text.encode()):
            digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()[:16]


def _placements_text(rows: Iterable[Mapping[str, Any]]) -> str:
    r"""The rows as YAML, of which JSON is a part.

    Example:
        >>> _placements_text(
        ...     [{"placement_id": "home", "k": 5, "max_k": 9, "kinds": ["own"], "exploration_share": 0.1}]
        ... )
        'placements:\n  - {"id":"home","k":5,"max_k":9,"kinds":["own"],"exploration_share":0.1}\n'
    """
    entries = [
        {
            "id": row["placement_id"],
            **{name: row[name] for name in ("k", "max_k", "kinds", "exploration_share")},
        }
        for row in rows
    ]
    return "placements:\n" + "".join(f"  - {orjson.dumps(entry).decode()}\n" for entry in entries)
