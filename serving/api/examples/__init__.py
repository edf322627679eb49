"""Examples of questions and answers for the OpenAPI document, by the name of the endpoint's function.

An answer is what the service really said to the question, shortened. A question stands here only where its
model does not bring an example of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from serving.api.examples import bundles, data, decisions, experiments, failures, operations

Examples = Mapping[str, Any]

QUESTIONS: Examples = MappingProxyType(
    {**bundles.QUESTIONS, **data.QUESTIONS, **operations.QUESTIONS, **experiments.QUESTIONS}
)
ANSWERS: Examples = MappingProxyType(
    {**bundles.ANSWERS, **decisions.ANSWERS, **data.ANSWERS, **operations.ANSWERS, **experiments.ANSWERS}
)
OTHER_ANSWERS: Mapping[tuple[str, str], Any] = MappingProxyType({("show_readiness", "503"): data.UNREADY})
"""Answers under another status than 200 that are no failures."""

PARAMETERS: Examples = MappingProxyType(
    {
        "client_id": "c-000123",
        "offer_id": "bank-a-rko",
        "version": "fff9780eab6f",
        "experiment_id": "short-titles",
        "bundle_version": "default-2026-11-01-5040ec08",
        "share_triggered": 0.4,
    }
)
"""By name: a parameter means the same everywhere."""

FAILURES = failures.FAILURES
"""By status."""
