"""Events by client, from which states are derived."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index every event of a client, not only dismissals."""
    op.drop_index("ix_events_dismissal", "events")
    op.create_index("ix_events_client_id", "events", ["client_id", "occurred_at"])


def downgrade() -> None:
    """The index of dismissals again."""
    op.drop_index("ix_events_client_id", "events")
    op.create_index(
        "ix_events_dismissal",
        "events",
        ["client_id"],
        sqlite_where=sa.text("event_type = 'dismissal'"),
        postgresql_where=sa.text("event_type = 'dismissal'"),
    )
