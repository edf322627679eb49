"""Questions and answers about policies and stops."""

from __future__ import annotations

from types import MappingProxyType

_AUTHOR = "b8392611c177"
_NOW = "2026-03-02T09:30:00Z"
_STOP = {
    "offer_id": "bank-a-rko",
    "is_stopped": True,
    "reason": "the partner's form is broken",
    "author": _AUTHOR,
    "effective_at": _NOW,
    "recorded_at": _NOW,
    "warnings": [],
}
_PLACEMENTS = "placements: [{id: home, k: 5, max_k: 10}, {id: partners, k: 2, kinds: [partner]}]\n"
_POLICY = {
    "version": "eb7ecb6ccfad1f21",
    "effective_at": "2026-09-01T00:00:00Z",
    "recorded_at": _NOW,
    "author": _AUTHOR,
    "note": "a list for partners · not evaluated off-policy",
    "documents": ["placements.yaml"],
    "is_withdrawal": False,
}

QUESTIONS = MappingProxyType(
    {
        "stop_offer": {"reason": "the partner's form is broken"},
        "resume_offer": {"reason": "the partner has repaired it"},
        "store_policy": {
            "documents": {"placements.yaml": _PLACEMENTS},
            "effective_at": "2030-09-01T00:00:00Z",
            "note": "a list for partners",
        },
        "withdraw": {"note": "the partner asks for another month"},
    }
)

ANSWERS = MappingProxyType(
    {
        "stop_offer": _STOP,
        "resume_offer": {**_STOP, "is_stopped": False, "reason": "the partner has repaired it"},
        "list_policies": {"in_force": "fff9780eab6fa5e0", "policies": [_POLICY]},
        "show_policy": {
            "version": "eb7ecb6ccfad1f21",
            "effective_at": "2026-09-01T00:00:00Z",
            "recorded_at": _NOW,
            "author": _AUTHOR,
            "note": "a list for partners · not evaluated off-policy",
            "documents": {"placements.yaml": _PLACEMENTS},
        },
        "store_policy": {
            **_POLICY,
            "warnings": [
                "placements.yaml: placement 'lucky' of the policy before it is gone: requests get 404"
            ],
        },
        "withdraw": {"withdrawn": [_POLICY]},
    }
)
