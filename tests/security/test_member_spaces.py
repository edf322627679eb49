"""What a member's browser may name, and what it may say of itself: nothing that is another's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from recsys.domain import MAX_ID_LENGTH
from serving.accounts import Role

from .conftest import FOREIGN, MEMBER, NOW, OWN, Service


def tell(
    service: Service, credential: str, event_id: str, client_id: str = OWN, **more: Any
) -> httpx.Response:
    event = {
        "event_id": event_id,
        "event_type": "complaint",
        "client_id": client_id,
        "occurred_at": NOW.isoformat(),
        **more,
    }
    return service.ask("POST", "/v1/events", credential, json={"events": [event]})


def decision_of(service: Service, response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    decision_id = response.json()["placements"][0]["decision_id"]
    (row,) = [row for row in service.store.read_rows("decisions") if row["decision_id"] == decision_id]
    return row


def test_a_member_takes_nobody_elses_event_id(service: Service) -> None:
    anna, boris = service.signer.token(), service.signer.token(sub="m-boris")
    portal = service.keys[Role.PORTAL]
    assert tell(service, anna, "e-taken", topic="anna's").json() == {"accepted": 1, "duplicates": 0}
    assert tell(service, portal, "e-taken", FOREIGN).json()["accepted"] == 1
    assert tell(service, boris, "e-taken", topic="boris's").json()["accepted"] == 1
    # For the same member it is the same id as ever.
    assert tell(service, anna, "e-taken", topic="anna's").json()["duplicates"] == 1
    assert tell(service, anna, "e-taken", topic="another").status_code == 409


def test_a_member_learns_of_nobody_elses_event_id(service: Service) -> None:
    assert tell(service, service.keys[Role.PORTAL], "e-known", topic="x").json()["accepted"] == 1
    for topic in ("x", "y"):
        other = service.signer.token(sub=f"m-{topic}")
        assert tell(service, other, "e-known", topic=topic).json() == {"accepted": 1, "duplicates": 0}


@pytest.mark.parametrize("letter", ["e", "ы"])
def test_an_id_of_any_length_has_room_in_a_members_space(service: Service, letter: str) -> None:
    token = service.signer.token()
    sent = [letter * n for n in (1, 45, 46, MAX_ID_LENGTH - 1, MAX_ID_LENGTH)]
    assert [tell(service, token, event_id).json()["accepted"] for event_id in sent] == [1] * len(sent)
    assert [tell(service, token, event_id).json()["duplicates"] for event_id in sent] == [1] * len(sent)
    stored = [row["event_id"] for row in service.store.read_rows("events")]
    assert max(map(len, stored)) <= MAX_ID_LENGTH


def test_members_events_are_logged_in_the_members_name(service: Service) -> None:
    assert tell(service, service.signer.token(), "e-named", topic="named").status_code == 200
    (row,) = [row for row in service.store.read_rows("events") if row["topic"] == "named"]
    assert (row["client_id"], row["member_id"]) == (OWN, MEMBER)


def test_a_member_rewrites_no_past(service: Service) -> None:
    token, week = service.signer.token(), timedelta(days=7)
    assert tell(service, token, "e-week", occurred_at=(NOW - week).isoformat()).status_code == 200
    late = (NOW - week - timedelta(seconds=1)).isoformat()
    refused = tell(service, token, "e-late", occurred_at=late)
    assert refused.status_code == 422
    (fault,) = refused.json()["error"]["details"]["faults"]
    assert (fault["index"], fault["event_id"], fault["code"]) == (0, "e-late", "too_old")
    # The operator's own systems may tell of it.
    assert tell(service, service.keys[Role.PORTAL], "e-late", occurred_at=late).status_code == 200


def test_faults_name_events_as_they_were_sent(service: Service) -> None:
    refused = tell(service, service.signer.token(), "e-wrong", event_type="click", decision_id="none", slot=1)
    assert refused.status_code == 422
    assert refused.json()["error"]["details"]["faults"][0]["event_id"] == "e-wrong"


def test_a_member_takes_nobody_elses_request_id(service: Service) -> None:
    anna, boris = service.signer.token(), service.signer.token(sub="m-boris")
    portal = service.keys[Role.PORTAL]
    mine = service.recommend(anna, request_id="r-taken")
    assert mine.json()["request_id"] == "r-taken"
    others = [service.recommend(boris, request_id="r-taken"), service.recommend(portal, request_id="r-taken")]
    named = [decision_of(service, response)["member_id"] for response in (mine, *others)]
    assert named == [MEMBER, "m-boris", None]
    assert service.recommend(portal, FOREIGN, request_id="r-taken").status_code == 409
    assert service.recommend(anna, request_id="r-taken").content == mine.content


@pytest.mark.parametrize("changed", [{"role": "employee"}, {"role": None}, {"spending_limit_minor": 100}])
def test_an_answer_is_for_the_role_and_limit_that_asked(service: Service, changed: dict[str, Any]) -> None:
    name = f"r-{changed}"
    first = service.recommend(service.signer.token(role="administrator"), request_id=name)
    again = service.recommend(service.signer.token(role="administrator", note="fresh"), request_id=name)
    other = service.recommend(service.signer.token(**{"role": "administrator", **changed}), request_id=name)
    assert again.content == first.content
    assert other.status_code == 409


@pytest.mark.parametrize(
    ("claims", "context", "status"),
    [
        ({}, {"role": "administrator"}, 403),
        ({"role": "employee"}, {"role": "employee"}, 200),
        ({}, {"spending_limit_minor": 10**12}, 403),
        ({"spending_limit_minor": 5_000}, {"spending_limit_minor": 5_001}, 403),
        ({"spending_limit_minor": 5_000}, {"spending_limit_minor": 5_000}, 200),
    ],
)
def test_role_and_limit_are_the_tokens(
    service: Service, claims: dict[str, Any], context: dict[str, Any], status: int
) -> None:
    assert service.recommend(service.signer.token(**claims), context=context).status_code == status


def test_role_and_limit_of_a_token_are_decided_by(service: Service) -> None:
    token = service.signer.token(role="finance", spending_limit_minor=0)
    told = orjson.loads(decision_of(service, service.recommend(token))["request"])
    assert (told["role"], told["spending_limit_minor"]) == ("finance", 0)
    plain = orjson.loads(decision_of(service, service.recommend(service.signer.token()))["request"])
    assert not {"role", "spending_limit_minor"} & set(plain)
