"""Orders of experiments, the arms of clients, and the arms that a decision was made in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serving.storage.types import Instant, exact_text, id_text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Decisions made before were made in no experiment."""
    op.create_table(
        "experiments",
        sa.Column("experiment_id", id_text(), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("status", exact_text(), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("author", exact_text(), nullable=False),
        sa.Column("reason", exact_text()),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", "number", name="pk_experiments"),
    )
    op.create_table(
        "assignments",
        sa.Column("experiment_id", id_text(), nullable=False),
        sa.Column("client_id", id_text(), nullable=False),
        sa.Column("unit_id", exact_text(), nullable=False),
        sa.Column("arm", exact_text(), nullable=False),
        sa.Column("is_forced", sa.Boolean),
        sa.Column("assigned_at", Instant, nullable=False),
        sa.Column("triggered_at", Instant),
        sa.Column("trigger_decision_id", id_text()),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", "client_id", name="pk_assignments"),
    )
    op.create_index("ix_assignments_client_id", "assignments", ["client_id"])
    op.create_index("ix_assignments_unit_id", "assignments", ["unit_id", "experiment_id"])
    op.create_table(
        "turns",
        sa.Column("name", id_text(), nullable=False),
        sa.Column("taken_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_turns"),
    )
    op.add_column("decisions", sa.Column("assignments", sa.Text))


def downgrade() -> None:
    """Forget the experiments; decisions and events stay."""
    op.drop_column("decisions", "assignments")
    op.drop_table("turns")
    op.drop_table("assignments")
    op.drop_table("experiments")
