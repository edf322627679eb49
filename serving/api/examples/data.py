"""Questions and answers about clients, the catalogue and the service itself."""

from __future__ import annotations

from types import MappingProxyType

_PROFILE = {
    "name": "ООО «Ромашка»",
    "legal_form": "llc",
    "size": "small",
    "industry": "G",
    "region": "77",
    "stage": "steady",
    "n_employees": 24,
    "revenue_minor": 30_000_000_000,
    "client_since_on": "2021-05-17",
    "is_vip": False,
    "vip_reviewed_on": None,
    "loyalty_points": 1200,
    "account_group_id": None,
    "tags": [],
    "is_profiling_allowed": True,
}
_CLIENT = {
    "client_id": "c-000123",
    "state_version": 5,
    "profile": _PROFILE,
    "holdings": [
        {
            "holding_id": "h-7",
            "offer_id": "crm-b",
            "connected_at": "2025-01-15T00:00:00Z",
            "quantity": 1,
            "ends_at": None,
            "term_ends_on": None,
        }
    ],
    "past_offer_ids": [],
    "dismissals": [
        {"offer_id": "vpbx-pro", "reason": "too_expensive", "dismissed_at": "2026-02-20T10:12:00Z"}
    ],
    "months": [
        {
            "month_on": "2026-02-01",
            "n_sims_employees": 12,
            "n_sims_field": None,
            "n_sims_devices": 3,
            "spend_minor": 845_000,
            "voice_minutes": 5400,
            "data_megabytes": 61_000,
            "n_sms": None,
            "overage_share": 0.08,
            "roaming_share": None,
            "m2m_share": 0.2,
            "overdue_days": 0,
        }
    ],
    "activity": [
        {
            "hour_at": "2026-03-02T09:00:00Z",
            "offer_id": "cloud-disk",
            "event_type": "impression",
            "n_events": 1,
        }
    ],
    "complaint": None,
}
_VERSIONS = {"clients": [{"client_id": "c-000123", "state_version": 6}]}

_READY = {
    "status": "ready",
    "faults": [],
    "looked_seconds_ago": 0.31,
    "database": "ok",
    "bundle": "default-2026-02-01-683ac3d9",
    "bundle_by": "live by order 2",
    "shadow": None,
    "policy": "fff9780eab6fa5e0",
    "degraded": None,
    "catalogue": "824b30198dc7c7b6",
    "n_offers": 102,
    "sources": [
        {
            "source": "clients",
            "newest_recorded_at": "2026-03-01T22:00:00Z",
            "loaded_at": "2026-03-02T01:00:00Z",
            "age_seconds": 41_400.0,
        }
    ],
}
UNREADY = {
    **_READY,
    "status": "unready",
    "faults": ["no published policy can be read: publish one"],
    "database": "unavailable",
    "policy": None,
}
"""An answer to /ready while requests would fail."""

QUESTIONS = MappingProxyType(
    {
        "store_client": {
            "name": "ООО «Ромашка»",
            "legal_form": "llc",
            "industry": "G",
            "region": "77",
            "n_employees": 24,
            "revenue_minor": 30_000_000_000,
            "client_since_on": "2021-05-17",
        }
    }
)

ANSWERS = MappingProxyType(
    {
        "store_client": _CLIENT,
        "show_client": _CLIENT,
        "show_features": {
            "client_id": "c-000123",
            "state_version": 5,
            "read_at": "2026-03-02T09:30:00Z",
            "spec": "a2f05f3817713c76c62bcaa33336676c1a67ef52736d6db1fcb1b901806b5cd4",
            "features": [
                {"name": "n_employees", "unit": "count", "value": 24.0},
                {"name": "n_holdings", "unit": "count", "value": 1.0},
                {"name": "roaming_share", "unit": "share", "value": None},
            ],
        },
        "store_holdings": _VERSIONS,
        "store_months": _VERSIONS,
        "show_offers": {
            "version": "824b30198dc7c7b6",
            "currency": "RUB",
            "offers": [
                {
                    "offer_id": "call-recording",
                    "kind": "own",
                    "title": {"ru": "Запись звонков", "en": "Call recording"},
                    "supplier_id": None,
                    "category": "telephony",
                    "need_group": "telephony",
                    "prices": [{"amount_minor": 29_000, "period": "month", "region": None, "size": None}],
                    "regions": [],
                    "legal_forms": [],
                    "requires": [["vpbx-pro", "vpbx-start"]],
                    "excludes": [],
                    "exclusive_slot": None,
                    "upgrades_to": None,
                    "valid_from": None,
                    "valid_to": None,
                    "is_stopped": False,
                }
            ],
        },
        "show_health": {"status": "alive"},
        "show_readiness": _READY,
    }
)
