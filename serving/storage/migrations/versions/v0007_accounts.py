"""People of the console, their sessions, keys of member tokens, and how long API keys hold."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serving.storage.types import Instant, exact_text, id_text

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keys made before do not end, and nobody knows when they were last used."""
    op.add_column("api_keys", sa.Column("expires_at", Instant))
    op.add_column("api_keys", sa.Column("last_used_on", sa.Date))
    op.create_table(
        "users",
        sa.Column("name", id_text(), nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("is_disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("changed_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", id_text(), nullable=False),
        sa.Column("user_name", exact_text(), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("is_single_sign_on", sa.Boolean, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("seen_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_sessions"),
    )
    op.create_index("ix_sessions_user_name", "sessions", ["user_name"])
    op.create_table(
        "login_attempts",
        sa.Column("subject", id_text(), nullable=False),
        sa.Column("n_attempts", sa.BigInteger, nullable=False),
        sa.Column("began_at", Instant, nullable=False),
        sa.Column("last_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("subject", name="pk_login_attempts"),
    )
    op.create_table(
        "token_keys",
        sa.Column("key_id", id_text(), nullable=False),
        sa.Column("algorithm", sa.String(16), nullable=False),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("revoked_at", Instant),
        sa.PrimaryKeyConstraint("key_id", name="pk_token_keys"),
    )


def downgrade() -> None:
    """Nobody can log in any more; a key with an end is revoked at once: the program before knows no ends."""
    op.execute("UPDATE api_keys SET revoked_at = expires_at WHERE revoked_at IS NULL")
    for table in ("token_keys", "login_attempts", "sessions", "users"):
        op.drop_table(table)
    op.drop_column("api_keys", "last_used_on")
    op.drop_column("api_keys", "expires_at")
