"""Orders of bundles, and what bundles in shadow would have shown."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serving.storage.types import Instant, exact_text, id_text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """With no order given, the newest bundle of the folder is served, as before."""
    op.create_table(
        "bundles",
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("version", id_text(), nullable=False),
        sa.Column("folder", exact_text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("author", exact_text(), nullable=False),
        sa.Column("reason", exact_text(), nullable=False),
        sa.Column("judgement", exact_text(), nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_bundles"),
    )
    op.create_table(
        "shadow_decisions",
        sa.Column("decision_id", id_text(), nullable=False),
        sa.Column("bundle_version", id_text(), nullable=False),
        sa.Column("live_version", id_text(), nullable=False),
        sa.Column("placement_id", id_text(), nullable=False),
        sa.Column("client_size", exact_text()),
        sa.Column("occurred_at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("n_shown", sa.BigInteger, nullable=False),
        sa.Column("n_differing", sa.BigInteger, nullable=False),
        sa.Column("n_candidates", sa.BigInteger, nullable=False),
        sa.Column("rank_correlation", sa.Double),
        sa.Column("mean_difference", sa.Double),
        sa.PrimaryKeyConstraint("decision_id", "bundle_version", name="pk_shadow_decisions"),
    )
    op.create_index(
        "ix_shadow_decisions_bundle_version", "shadow_decisions", ["bundle_version", "occurred_at"]
    )


def downgrade() -> None:
    """Forget the orders; the newest bundle of the folder is served again."""
    op.drop_table("shadow_decisions")
    op.drop_table("bundles")
