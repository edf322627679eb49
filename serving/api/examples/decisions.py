"""Answers about what a client should see, and why."""

from __future__ import annotations

from types import MappingProxyType

_VERSIONS = {
    "policy": "fff9780eab6fa5e0",
    "catalogue": "824b30198dc7c7b6",
    "bundle": "default-2026-02-01-683ac3d9",
    "state": 1,
}
_REFUSED = {
    "offer_id": "call-recording",
    "title": "Call recording",
    "change": "new",
    "stage": "eligibility",
    "rule": "requires",
    "code": "requires",
    "text": "First you need “Virtual PBX Pro” or “Virtual PBX Start”",
    "cure": {
        "code": "connect_first",
        "text": "Connect “Virtual PBX Start” first",
        "offer_ids": ["vpbx-start"],
        "from_at": None,
    },
}
_DISK = {
    "offer_id": "cloud-disk",
    "change": "new",
    "rank": 1,
    "adoption_probability": 0.46241667,
    "kind": "own",
    "supplier_id": None,
    "title": "Cloud disk",
    "category": None,
    "price": {"amount_minor": 29_000, "currency": "RUB", "period": "month"},
    "reasons": [
        {"code": "taken_with", "text": "Often taken together with “CRM B”, which you already have"},
        {"code": "price_month", "text": "Paid month by month"},
    ],
    "logging_probability": 1.0,
}
_ACCOUNT = {
    "offer_id": "bank-a-rko",
    "change": "new",
    "rank": 1,
    "adoption_probability": 0.455,
    "kind": "partner",
    "supplier_id": "bank-a",
    "title": "Account at Bank A",
    "category": None,
    "price": {"amount_minor": 0, "currency": "RUB", "period": "month"},
    "reasons": [{"code": "price_free", "text": "Free of charge"}],
    "logging_probability": 1.0,
}

ANSWERS = MappingProxyType(
    {
        "recommend_offers": {
            "request_id": "2026-03-02-000001",
            "client_id": "c-000123",
            "client_known": True,
            "basis": "holdings",
            "personalised": True,
            "held_out": False,
            "degraded": None,
            "logged": True,
            "versions": _VERSIONS,
            "placements": [
                {
                    "placement_id": "partners",
                    "decision_id": "019cade211c0a39f74f260f9b8f01c28",
                    "valid_until": "2026-03-03T00:00:00Z",
                    "items": [_ACCOUNT],
                },
                {
                    "placement_id": "home",
                    "decision_id": "019cade211c0f5986f52e42582800efa",
                    "valid_until": "2026-03-03T00:00:00Z",
                    "items": [_DISK],
                },
            ],
        },
        "store_events": {"accepted": 1, "duplicates": 0},
        "explain_offers": {
            "client_id": "c-000124",
            "client_known": True,
            "personalised": True,
            "held_out": False,
            "degraded": None,
            "versions": _VERSIONS,
            "assignments": [],
            "placements": [
                {
                    "placement_id": "home",
                    "n_offers": 6,
                    "funnel": [
                        {"stage": "availability", "n_left": 6},
                        {"stage": "eligibility", "n_left": 5},
                        {"stage": "placement", "n_left": 5},
                    ],
                    "shown": [
                        {
                            "offer_id": "bank-a-rko",
                            "title": "Account at Bank A",
                            "change": "new",
                            "rank": 1,
                            "probability": 0.47725,
                            "probability_of": "adoption",
                            "context": 1.0,
                            "value": 1.0,
                            "levers": 1.0,
                            "priority": 0.47725,
                            "context_weights": [],
                            "logging_probability": 1.0,
                            "is_pinned": False,
                            "reasons": [{"code": "popular", "text": "Popular with business clients"}],
                        }
                    ],
                    "suppressed": [_REFUSED],
                }
            ],
        },
        "check_offers": {
            "client_id": "c-000124",
            "offers": [
                {
                    "offer_id": "call-recording",
                    "title": "Call recording",
                    "is_eligible": False,
                    "change": "new",
                    "price": None,
                    "refused_by": _REFUSED,
                    "is_proposed": False,
                }
            ],
        },
    }
)
