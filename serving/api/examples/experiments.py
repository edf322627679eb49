"""Questions and answers about experiments."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

_AUTHOR = "b8392611c177"
_NOW = "2026-03-02T09:30:00Z"
_DOCUMENT: dict[str, Any] = {
    "experiment_id": "short-titles",
    "title": "Short titles",
    "hypothesis": "Less to read is more to take",
    "owner": "anna",
    "arms": [
        {"name": "control", "weight": 0.5},
        {"name": "short", "weight": 0.5, "texts": {"vpbx-start": {"ru": "АТС", "en": "PBX"}}},
    ],
    "primary": {"name": "taken", "measure": "activations"},
    "minimum_effect": 0.1,
    "window_days": 7,
}
_STANDING: dict[str, Any] = {
    "experiment_id": "short-titles",
    "title": "Short titles",
    "owner": "anna",
    "status": "draft",
    "arms": ["control", "short"],
    "coverage": 1.0,
    "started_at": None,
    "stopped_at": None,
    "decided_at": None,
    "winner": None,
    "reason": "",
    "author": _AUTHOR,
}
_RUNNING = {"status": "running", "started_at": _NOW, "reason": "as planned"}
_STOPPED = {**_RUNNING, "status": "stopped", "stopped_at": _NOW, "reason": "the quarter ends"}
_DECIDED = {
    **_STOPPED,
    "status": "decided",
    "decided_at": _NOW,
    "winner": "short",
    "reason": "taken 4 % more often, nothing got worse",
}
_HOLDOUT = {
    "share": 0.05,
    "salt": "holdout",
    "unit": "group",
    "author": _AUTHOR,
    "reason": "to measure what everything personal brings",
    "recorded_at": _NOW,
    "warnings": [],
}
_RESULTS: dict[str, Any] = {
    "experiment_id": "short-titles",
    "title": "Short titles",
    "status": "running",
    "started_at": "2026-02-02T09:30:00Z",
    "now": _NOW,
    "method": "sequential",
    "primary": "taken",
    "arms": [
        {"name": "control", "weight": 0.5, "counts": {"n_units": 812, "n_open": 90, "n_analysed": 722}},
        {"name": "short", "weight": 0.5, "counts": {"n_units": 798, "n_open": 84, "n_analysed": 714}},
    ],
    "verdicts": [
        {
            "arm": "short",
            "says": "cannot_tell",
            "why": {"ru": "Сказать нельзя: данных пока мало.", "en": "Cannot tell: too little is known yet."},
            "needed": {"ru": "Подождите.", "en": "Wait."},
        }
    ],
    "comparisons": [
        {
            "metric": "taken",
            "role": "primary",
            "arm": "short",
            "relative": {"value": 0.04, "low": -0.11, "high": 0.21, "cause": None},
        }
    ],
}


def _ordered(changes: dict[str, Any]) -> dict[str, Any]:
    said = {**_STANDING, **changes}
    order = {"number": 1, "author": _AUTHOR, "recorded_at": _NOW}
    return {
        **said,
        "salt": "short-titles",
        "n_admissible_salts": 0,
        "experiment": _DOCUMENT,
        "orders": [{**order, "status": said["status"], "reason": said["reason"]}],
        "warnings": [],
    }


QUESTIONS = MappingProxyType(
    {
        "create_experiment": _DOCUMENT,
        "edit_experiment": {**_DOCUMENT, "minimum_effect": 0.15},
        "plan_experiment": _DOCUMENT,
        "start_experiment": {"reason": "as planned"},
        "ramp_experiment": {"coverage": 1.0, "reason": "nothing got worse"},
        "stop_experiment": {"reason": "the quarter ends"},
        "decide_experiment": {"winner": "short", "reason": "taken 4 % more often, nothing got worse"},
        "store_holdout": {"share": 0.05, "reason": "to measure what everything personal brings"},
    }
)

ANSWERS = MappingProxyType(
    {
        "create_experiment": _ordered({}),
        "edit_experiment": _ordered({}),
        "show_experiment": _ordered({}),
        "list_experiments": {"experiments": [_STANDING], "unreadable": []},
        "plan_experiment": {
            "metric": "taken",
            "n_clients": 5000,
            "n_units": 4210,
            "baseline": 0.031,
            "minimum_effect": 0.1,
            "power": 0.42,
            "smallest_effect": 0.17,
            "units_needed": 12_400,
            "weeks_needed": None,
            "is_enough": False,
            "verdict": {"ru": "Клиентов не хватит.", "en": "There are too few clients."},
        },
        "start_experiment": _ordered(_RUNNING),
        "ramp_experiment": _ordered(_RUNNING),
        "stop_experiment": _ordered(_STOPPED),
        "decide_experiment": _ordered(_DECIDED),
        "show_results": _RESULTS,
        "show_holdout": _HOLDOUT,
        "store_holdout": _HOLDOUT,
        "show_holdout_results": {**_RESULTS, "experiment_id": "holdout", "title": "Hold-out"},
    }
)
