"""schemathesis over the whole OpenAPI document: examples, edges of every field, random and stateful calls.

Each case is a request to the real app over SQLite, in this process, with an administrator's key. All of
schemathesis' checks count. A question that its schema allows may still be refused for what it means (a moment
in the past, an arm that nobody knows), which is 422; being refused for its form would be a fault of the
schema, and is looked for here.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import StopReason, events, from_schema
from schemathesis.python import asgi

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

# The document of an experiment has so many fields that its edges alone are 12,000 cases: `make soak`.
DOCUMENTS = ("create_experiment", "edit_experiment", "plan_experiment")
REFUSED = ["400", "401", "403", "404", "405", "409", "413", "415", "422", "429", "503"]
MEANT = ["2xx", "401", "403", "404", "409", "422", "429", "503"]
# What pydantic says of a wrong form; that years lie in 1970–2200 has no word in JSON Schema.
FORM = re.compile(r"(Input|String|List|Value|Field|Extra|Dictionary) (should|required|inputs|is)")
UNSAYABLE = re.compile(r"(1970-01-01|2200-01-01)(T00:00:00Z)?")


@dataclass
class Found:
    """What a run did and met."""

    n_cases: int = 0
    faults: list[str] = field(default_factory=list)
    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    phases: Counter[str] = field(default_factory=Counter)

    def add(self, scenario: events.ScenarioFinished) -> None:
        recorder = scenario.recorder
        self.n_cases += len(recorder.cases)
        self.phases[scenario.phase.value] += len(recorder.cases)
        for case_id, checks in recorder.checks.items():
            for check in checks:
                if check.failure_info is not None:
                    sample = f"{check.failure_info.failure}\n{check.failure_info.code_sample[:1500]}"
                    self.faults.append(
                        f"{check.name}: {recorder.cases[case_id].value.operation.label}: {sample}"
                    )
        for case_id, interaction in recorder.interactions.items():
            if case_id in recorder.cases and interaction.response is not None:
                self._look(recorder.cases[case_id].value, interaction.response)

    def _look(self, case: Any, response: Any) -> None:
        self.statuses.setdefault(case.operation.label, Counter())[response.status_code] += 1
        if response.status_code != 422 or case.meta is None or not case.meta.generation.mode.is_positive:
            return
        message = orjson.loads(response.content)["error"]["message"]
        if FORM.search(message) and not UNSAYABLE.search(message):
            self.faults.append(
                f"refused for its form: {case.operation.label}: {message}\n{case.body!r:.1500}"
            )


def run(app: FastAPI, key: str, n_examples: int, n_scenarios: int, skipped: tuple[str, ...] = ()) -> Found:
    """Ask everything; the same cases each time."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "headers": {"Authorization": f"Bearer {key}"},
            "continue-on-failure": True,
            "request-timeout": 600,  # whether an answer comes is asked here, not how soon
            "generation": {"max-examples": n_examples, "deterministic": True, "database": "none"},
            "checks": {
                "positive_data_acceptance": {"expected-statuses": MEANT},
                "negative_data_rejection": {"expected-statuses": REFUSED},
            },
            "phases": {"stateful": {"generation": {"max-examples": n_scenarios}}},
            "operations": [
                {"include-operation-id": name, "phases": {"coverage": {"enabled": False}}} for name in skipped
            ],
        }
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    found = Found()
    try:
        for event in from_schema(schema).execute():
            if isinstance(event, events.ScenarioFinished):
                found.add(event)
            elif isinstance(event, events.NonFatalError | events.FatalError):
                found.faults.append(f"schemathesis: {event}")
            elif isinstance(event, events.EngineFinished):
                assert event.stop_reason is StopReason.COMPLETED
    finally:
        asgi.shutdown_lifespans()
    return found


def judge(found: Found, app: FastAPI) -> None:
    told = f"{len(found.faults)} faults in {found.n_cases} cases\n\n" + "\n\n".join(found.faults[:10])
    assert not found.faults, told
    assert set(found.phases) == {"examples", "coverage", "fuzzing", "stateful"}
    labels = {
        f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods
    }
    assert set(found.statuses) == labels, "every operation was asked"
    # An answer's schema is looked at where there is one; some orders want a state that no example makes.
    assert sum(200 in statuses for statuses in found.statuses.values()) >= 0.85 * len(labels)


def test_the_service_keeps_to_its_document(operator: tuple[FastAPI, str]) -> None:
    app, key = operator
    found = run(app, key, n_examples=12, n_scenarios=15, skipped=DOCUMENTS)
    judge(found, app)
    assert found.n_cases >= 2_000


@pytest.mark.soak
def test_the_service_keeps_to_its_document_for_long(operator: tuple[FastAPI, str]) -> None:
    app, key = operator
    found = run(app, key, n_examples=250, n_scenarios=300)
    judge(found, app)
    assert found.n_cases >= 20_000
