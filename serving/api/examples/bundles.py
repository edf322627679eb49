"""Questions and answers about bundles."""

from __future__ import annotations

from types import MappingProxyType

_AUTHOR = "b8392611c177"
_LIVE, _NEXT = "default-2026-10-01-b516e3ed", "default-2026-11-01-5040ec08"
_DIGEST = "5040ec08a1a57bd39e2a4b3c36ce8d3a3f4f59b7d9a6a3e5f0c2b1d4e7f8a901"
_PUBLISHED = {
    "number": 3,
    "version": _NEXT,
    "folder": _NEXT,
    "digest": _DIGEST,
    "action": "publish",
    "author": _AUTHOR,
    "reason": "fitted on November",
    "judgement": "",
    "recorded_at": "2026-11-02T06:00:00Z",
}
_PROMOTED = {
    **_PUBLISHED,
    "number": 4,
    "action": "promote",
    "judgement": (
        f"offline: not worse than {_LIVE} by more than 5%: log_loss 0.05392 against 0.05161; not evaluated"
        " off-policy"
    ),
    "recorded_at": "2026-11-02T09:30:00Z",
}
_BEFORE = {
    **_PUBLISHED,
    "number": 2,
    "version": _LIVE,
    "folder": _LIVE,
    "digest": "b516e3ed" + _DIGEST[8:],
    "action": "promote",
    "reason": "",
    "judgement": "offline: nothing is live to compare it with; not evaluated off-policy",
    "recorded_at": "2026-10-02T09:30:00Z",
}
_ROLLED_BACK = {
    **_BEFORE,
    "number": 5,
    "action": "roll_back",
    "reason": "complaints about the lists",
    "judgement": f"instead of {_NEXT}",
    "recorded_at": "2026-11-03T10:00:00Z",
}
_PINNED = {
    **_ROLLED_BACK,
    "number": 6,
    "action": "pin",
    "reason": "until the cause is found",
    "judgement": "",
}

QUESTIONS = MappingProxyType(
    {
        "store_bundle": {"folder": _NEXT, "reason": "fitted on November"},
        "retire": {"reason": "a later one is better"},
        "promote": {"to": "live", "reason": "the monthly change"},
        "roll_back_bundle": {"reason": "complaints about the lists"},
        "pin_bundle": {"reason": "until the cause is found"},
        "unpin_bundle": {"reason": "the cause was found"},
    }
)
ANSWERS = MappingProxyType(
    {
        "list_bundles": {
            "live": _NEXT,
            "shadow": None,
            "before": _LIVE,
            "pinned_by": None,
            "served": _NEXT,
            "faults": [],
            "bundles": [
                {"version": _LIVE, "folder": _LIVE, "status": "retired", "last": _BEFORE},
                {"version": _NEXT, "folder": _NEXT, "status": "live", "last": _PROMOTED},
            ],
        },
        "show_one_bundle": {
            "version": _NEXT,
            "folder": _NEXT,
            "status": "live",
            "is_pinned": False,
            "fault": None,
            "target": "acceptance",
            "as_of": "2026-11-01T00:00:00+03:00",
            "metrics": {"n_candidates": 22930, "n_trees": 77, "log_loss_trees": 0.05392},
            "shadow": {
                "overall": {
                    "name": "",
                    "n_decisions": 1204,
                    "mean_overlap": 0.82,
                    "rank_correlation": 0.91,
                    "mean_difference": 0.0012,
                },
                "against": [_LIVE],
                "worst": [
                    {
                        "name": "size micro",
                        "n_decisions": 830,
                        "mean_overlap": 0.79,
                        "rank_correlation": 0.9,
                        "mean_difference": 0.0014,
                    }
                ],
            },
            "orders": [_PUBLISHED, _PROMOTED],
        },
        "store_bundle": {**_PUBLISHED, "warnings": []},
        "promote": {**_PROMOTED, "warnings": []},
        "retire": {**_PUBLISHED, "number": 7, "action": "retire", "warnings": []},
        "roll_back_bundle": {**_ROLLED_BACK, "warnings": []},
        "pin_bundle": {**_PINNED, "warnings": []},
        "unpin_bundle": {
            **_PINNED,
            "number": 7,
            "action": "unpin",
            "reason": "the cause was found",
            "warnings": [],
        },
    }
)
