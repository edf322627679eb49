"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serving.storage.types import Instant, Texts, exact_text, id_text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    "clients",
    "client_months",
    "members",
    "client_state",
    "offers",
    "offer_relations",
    "offer_prices",
    "placements",
    "holdings",
    "decisions",
    "events",
    "answers",
    "loads",
    "documents",
    "content_versions",
    "api_keys",
)


def upgrade() -> None:
    """Create the tables."""
    _create_clients()
    _create_catalogue()
    _create_holdings_and_log()
    _create_own()


def downgrade() -> None:
    """Drop the tables and what is in them."""
    for name in reversed(_TABLES):
        op.drop_table(name)


def _create_clients() -> None:
    op.create_table(
        "clients",
        sa.Column("client_id", id_text(), nullable=False),
        sa.Column("valid_from", Instant, nullable=False),
        sa.Column("valid_to", Instant),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("name", exact_text()),
        sa.Column("legal_form", exact_text()),
        sa.Column("size", exact_text()),
        sa.Column("industry", exact_text()),
        sa.Column("region", exact_text()),
        sa.Column("stage", exact_text()),
        sa.Column("n_employees", sa.BigInteger),
        sa.Column("revenue_minor", sa.BigInteger),
        sa.Column("client_since_on", sa.Date),
        sa.Column("is_vip", sa.Boolean),
        sa.Column("loyalty_points", sa.BigInteger),
        sa.Column("account_group_id", id_text()),
        sa.Column("tags", Texts),
        sa.Column("is_profiling_allowed", sa.Boolean),
        sa.PrimaryKeyConstraint("client_id", "valid_from", "recorded_at", name="pk_clients"),
    )
    op.create_table(
        "client_months",
        sa.Column("client_id", id_text(), nullable=False),
        sa.Column("month_on", sa.Date, nullable=False),
        sa.Column("known_at", Instant, nullable=False),
        sa.Column("n_sims_employees", sa.BigInteger),
        sa.Column("n_sims_field", sa.BigInteger),
        sa.Column("n_sims_devices", sa.BigInteger),
        sa.Column("spend_minor", sa.BigInteger),
        sa.Column("voice_minutes", sa.BigInteger),
        sa.Column("data_megabytes", sa.BigInteger),
        sa.Column("n_sms", sa.BigInteger),
        sa.Column("overage_share", sa.Double),
        sa.Column("roaming_share", sa.Double),
        sa.Column("m2m_share", sa.Double),
        sa.Column("overdue_days", sa.BigInteger),
        sa.PrimaryKeyConstraint("client_id", "month_on", "known_at", name="pk_client_months"),
    )
    op.create_table(
        "members",
        sa.Column("member_id", id_text(), nullable=False),
        sa.Column("client_id", id_text(), nullable=False),
        sa.Column("role", exact_text(), nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("member_id", "recorded_at", name="pk_members"),
    )
    op.create_table(
        "client_state",
        sa.Column("client_id", id_text(), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("search_text", exact_text(), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("client_id", name="pk_client_state"),
    )
    op.create_index("ix_client_state_search_text", "client_state", ["search_text"])


def _create_catalogue() -> None:
    op.create_table(
        "offers",
        sa.Column("offer_id", id_text(), nullable=False),
        sa.Column("kind", exact_text(), nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("title_ru", exact_text()),
        sa.Column("title_en", exact_text()),
        sa.Column("supplier_id", id_text()),
        sa.Column("category", exact_text()),
        sa.Column("need_group", exact_text()),
        sa.Column("margin_minor", sa.BigInteger),
        sa.Column("regions", Texts),
        sa.Column("legal_forms", Texts),
        sa.Column("exclusive_slot", exact_text()),
        sa.Column("valid_from", Instant),
        sa.Column("valid_to", Instant),
        sa.Column("is_stopped", sa.Boolean),
        sa.PrimaryKeyConstraint("offer_id", "recorded_at", name="pk_offers"),
    )
    op.create_table(
        "offer_relations",
        sa.Column("offer_id", id_text(), nullable=False),
        sa.Column("relation", exact_text(), nullable=False),
        sa.Column("other_offer_id", id_text(), nullable=False),
        sa.Column("alternative", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint(
            "offer_id", "relation", "other_offer_id", "alternative", "recorded_at", name="pk_offer_relations"
        ),
    )
    op.create_table(
        "offer_prices",
        sa.Column("offer_id", id_text(), nullable=False),
        sa.Column("region", exact_text()),
        sa.Column("size", exact_text()),
        sa.Column("period", exact_text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
    )
    op.create_index(
        "uq_offer_prices",
        "offer_prices",
        ["offer_id", sa.text("coalesce(region, '')"), sa.text("coalesce(size, '')"), "period", "recorded_at"],
        unique=True,
    )
    op.create_table(
        "placements",
        sa.Column("placement_id", id_text(), nullable=False),
        sa.Column("k", sa.Integer, nullable=False),
        sa.Column("max_k", sa.Integer, nullable=False),
        sa.Column("kinds", Texts, nullable=False),
        sa.Column("exploration_share", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("placement_id", name="pk_placements"),
    )


def _create_holdings_and_log() -> None:
    op.create_table(
        "holdings",
        sa.Column("holding_id", id_text(), nullable=False),
        sa.Column("client_id", id_text(), nullable=False),
        sa.Column("offer_id", id_text(), nullable=False),
        sa.Column("connected_at", Instant, nullable=False),
        sa.Column("disconnected_at", Instant),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("edition", exact_text()),
        sa.Column("quantity", sa.BigInteger),
        sa.Column("unit", exact_text()),
        sa.Column("price_minor", sa.BigInteger),
        sa.Column("term_ends_on", sa.Date),
        sa.Column("connected_by", exact_text()),
        sa.Column("source", exact_text()),
        sa.PrimaryKeyConstraint("holding_id", "recorded_at", name="pk_holdings"),
    )
    op.create_index("ix_holdings_client_id", "holdings", ["client_id"])
    op.create_table(
        "decisions",
        sa.Column("decision_id", id_text(), nullable=False),
        sa.Column("client_id", id_text(), nullable=False),
        sa.Column("member_id", id_text()),
        sa.Column("placement_id", id_text(), nullable=False),
        sa.Column("channel", exact_text()),
        sa.Column("occurred_at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("policy_version", id_text()),
        sa.Column("catalogue_version", id_text()),
        sa.Column("bundle_version", id_text()),
        sa.Column("state_version", sa.BigInteger),
        sa.Column("is_personalised", sa.Boolean),
        sa.Column("degraded", exact_text()),
        sa.Column("basis", exact_text()),
        sa.Column("candidates", sa.Text),
        sa.Column("items", sa.Text, nullable=False, server_default=sa.text("'[]'")),
        sa.PrimaryKeyConstraint("decision_id", name="pk_decisions"),
    )
    op.create_index("ix_decisions_client_id", "decisions", ["client_id", "occurred_at"])
    op.create_table(
        "events",
        sa.Column("event_id", id_text(), nullable=False),
        sa.Column("event_type", exact_text(), nullable=False),
        sa.Column("client_id", id_text(), nullable=False),
        sa.Column("occurred_at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("offer_id", id_text()),
        sa.Column("decision_id", id_text()),
        sa.Column("member_id", id_text()),
        sa.Column("slot", sa.BigInteger),
        sa.Column("reason", exact_text()),
        sa.Column("topic", exact_text()),
        sa.PrimaryKeyConstraint("event_id", name="pk_events"),
    )
    op.create_index(
        "ix_events_dismissal",
        "events",
        ["client_id"],
        sqlite_where=sa.text("event_type = 'dismissal'"),
        postgresql_where=sa.text("event_type = 'dismissal'"),
    )
    op.create_index(
        "uq_events_impression",
        "events",
        ["decision_id", "slot"],
        unique=True,
        sqlite_where=sa.text("event_type = 'impression'"),
        postgresql_where=sa.text("event_type = 'impression'"),
    )
    op.create_table(
        "answers",
        sa.Column("request_id", id_text(), nullable=False),
        sa.Column("request_digest", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("answered_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_answers"),
    )


def _create_own() -> None:
    op.create_table(
        "loads",
        sa.Column("source", id_text(), nullable=False),
        sa.Column("newest_recorded_at", Instant),
        sa.Column("loaded_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("source", name="pk_loads"),
    )
    op.create_table(
        "documents",
        sa.Column("name", id_text(), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_documents"),
    )
    op.create_table(
        "content_versions",
        sa.Column("name", id_text(), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_content_versions"),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", id_text(), nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("revoked_at", Instant),
        sa.PrimaryKeyConstraint("key_id", name="pk_api_keys"),
    )
