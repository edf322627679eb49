"""Use cases: what came of an experiment so far, what one would find; from what the store holds.

The figures need Polars, which a server that nobody asks for them does without: it is loaded on first use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from recsys.errors import RecsysError
from recsys.experiments.experiment import Experiment
from recsys.experiments.life import Standing
from recsys.tables import table_named
from serving.ports import Store
from serving.services.analysis import standing_to_judge
from serving.services.experiment_checks import compiled_targeting
from serving.services.experiments import holdout_in_force

if TYPE_CHECKING:
    import polars as pl

    from recsys.experiments.results import Results
    from serving.services.experiment_plan import Plan

_LOGGED = ("decisions", "events")
_EVENT = ("event_id", "event_type", "client_id", "occurred_at", "recorded_at", "offer_id", "decision_id")
# What results rest on; of the rest of the log, most is what single decisions are explained by.
_TABLES: Mapping[str, tuple[str, ...] | None] = MappingProxyType(
    {
        "clients": None,
        "client_months": None,
        "offers": None,
        "holdings": None,
        "decisions": (
            "decision_id",
            "client_id",
            "placement_id",
            "occurred_at",
            "recorded_at",
            "degraded",
            "assignments",
        ),
        "events": _EVENT,
        "assignments": None,
    }
)


def results_of(store: Store, experiment_id: str, now: datetime) -> Results:
    """What is known of an experiment that was started, or of the hold-out; takes seconds.

    Raises:
        UnknownExperimentError: There is no such experiment.
        ConflictError: It was not started yet.
        DataError: The assignments contradict the experiment.
    """
    standing = standing_to_judge(store, experiment_id)
    return _judge(standing, tables_of(store, _since([standing], now)), now)


def judge_each(store: Store, standings: Sequence[Standing], now: datetime) -> list[dict[str, object] | str]:
    """The results of experiments as plain values, from tables read once; in words why there are none."""
    tables = tables_of(store, _since(standings, now))
    found: list[dict[str, object] | str] = []
    for standing in standings:
        try:
            found.append(_judge(standing, tables, now).as_json())
        except RecsysError as error:
            found.append(str(error))
        except Exception as error:  # noqa: BLE001 -- one experiment keeps no other from being judged
            found.append(repr(error))
    return found


def _since(standings: Sequence[Standing], now: datetime) -> datetime:
    """Covariates are measured as long before the trigger as outcomes are after it."""
    return min(
        (standing.started_at or now) - 2 * timedelta(days=standing.experiment.window_days)
        for standing in standings
    )


def _judge(standing: Standing, tables: Mapping[str, pl.DataFrame], now: datetime) -> Results:
    from recsys.experiments.analysis import analyse  # noqa: PLC0415 -- see above
    from recsys.experiments.outcomes import observe  # noqa: PLC0415

    return analyse(standing, observe(standing, tables, now))


def plan(store: Store, experiment: Experiment, now: datetime, share_triggered: float = 1.0) -> Plan:
    """What an experiment would find among the clients there are; takes seconds.

    Args:
        store: Clients, holdings, decisions.
        experiment: The document.
        now: The present instant.
        share_triggered: Share of the units that come whose lists differ between the arms.

    Raises:
        InvalidRequestError: Its targeting cannot be read.
    """
    from serving.services.experiment_plan import Setting, plan_of  # noqa: PLC0415

    targeting = compiled_targeting(store, experiment, now)
    setting = Setting(holdout_in_force(store).holdout, targeting, share_triggered)
    return plan_of(store, experiment, setting, now)


def tables_of(store: Store, since: datetime | None = None) -> dict[str, pl.DataFrame]:
    """The tables that results are read from.

    Args:
        store: Where they live.
        since: Decisions and events recorded before are left out; None = none is.
    """
    from serving.services.frames import frame_of  # noqa: PLC0415

    return {
        name: frame_of(store, table_named(name), columns, since if name in _LOGGED else None)
        for name, columns in _TABLES.items()
    }
