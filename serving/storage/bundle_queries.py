"""The statements about bundles: what was said of them, and how those in shadow disagree."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from serving.storage.dialects import Database
from serving.storage.schema import BUNDLES, SHADOW_DECISIONS
from serving.storage.statements import Statement


class BundleQueries:
    """Orders of bundles, and decisions in shadow."""

    def __init__(self, database: Database) -> None:
        def adding(table: sa.Table) -> sa.UpdateBase:
            named: dict[str, object] = {column.name: bindparam(column.name) for column in table.columns}
            insert = database.insert(table).values(named)
            return insert if table is BUNDLES else insert.on_conflict_do_nothing()

        self.add = Statement(adding(BUNDLES), database)
        self.orders = Statement(select(BUNDLES).order_by(BUNDLES.c.number), database)
        self.add_shadow = Statement(adding(SHADOW_DECISIONS), database)
        shadow = SHADOW_DECISIONS.c
        kinds = shadow.live_version, shadow.placement_id, shadow.client_size
        self.shadow_figures = Statement(
            select(
                *kinds,
                sa.func.count().label("n_decisions"),
                _whole(sa.func.sum(shadow.n_shown)).label("n_shown"),
                _whole(sa.func.sum(shadow.n_differing)).label("n_differing"),
                sa.func.count(shadow.rank_correlation).label("n_correlations"),
                _sum(shadow.rank_correlation).label("sum_of_correlations"),
                sa.func.count(shadow.mean_difference).label("n_differences"),
                _sum(shadow.mean_difference).label("sum_of_differences"),
            )
            .where(shadow.bundle_version == bindparam("version"))
            .group_by(*kinds)
            .order_by(
                shadow.live_version, shadow.placement_id, sa.func.coalesce(shadow.client_size, _NO_SIZE)
            ),
            database,
        )


_NO_SIZE: sa.ColumnElement[str] = sa.literal_column("''")


def _whole(total: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """A sum of whole numbers, of which PostgreSQL would make a decimal."""
    return sa.cast(total, sa.BigInteger)


def _sum(column: sa.ColumnElement[float]) -> sa.ColumnElement[float]:
    return sa.func.coalesce(sa.func.sum(column), sa.literal_column("0.0", sa.Double))
