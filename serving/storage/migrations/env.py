"""What Alembic runs around migrations; the connection comes from `serving.storage.migrate`."""

from __future__ import annotations

from alembic import context

from serving.storage.schema import METADATA


def run_migrations() -> None:
    """Run what the command asked for, in one transaction."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=METADATA,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if __name__ == "env_py":  # the name Alembic gives this file; whoever else imports it runs nothing
    run_migrations()
