"""What the reference says of asking the log in SQL which rule refused what."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from serving.ports import LogDecisions, LoggedDecision, Store

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "decision.md"
BY_RULE = (
    b'{"offer_id":["a"],"refused":[["eligibility","requires",["b","c"]],["placement","shown_above",["d"]]]}'
)
BY_OFFER = b'{"offer_id":[],"refused":[["b","eligibility","requires"],["d","placement","shown_above"]]}'


def decision(decision_id: str, candidates: bytes) -> LoggedDecision:
    return LoggedDecision(
        decision_id=decision_id,
        client_id="acme",
        member_id=None,
        placement_id="home",
        channel=None,
        occurred_at=datetime(2026, 11, 1, tzinfo=UTC),
        seed=1,
        policy_version="p",
        catalogue_version="c",
        bundle_version=None,
        state_version=1,
        is_personalised=True,
        degraded=None,
        basis="holdings",
        items=b"[]",
        candidates=candidates,
        request=b'{"k":1}',
    )


def test_the_query_reads_rows_of_both_forms(
    new_store: Callable[[str], Store], postgresql_migrated: str
) -> None:
    rows = (decision("new", BY_RULE), decision("old", BY_OFFER), decision("none", b'{"refused":[]}'))
    new_store("postgresql").commit([LogDecisions(rows)])
    (query,) = re.findall(r"```sql\n(.*?)```", REFERENCE.read_text(encoding="utf-8"), re.DOTALL)
    with psycopg.connect(postgresql_migrated) as connection:
        found = connection.execute(query).fetchall()
    assert sorted(found) == [
        ("new", "eligibility", "requires", "b"),
        ("new", "eligibility", "requires", "c"),
        ("new", "placement", "shown_above", "d"),
        ("old", "eligibility", "requires", "b"),
        ("old", "placement", "shown_above", "d"),
    ]
