"""Keys end and are revoked in time, whatever else is slow or away; strangers learn nothing from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from recsys.errors import StoreUnavailableError
from serving import background
from serving.accounts import Role
from serving.security.keys import new_key
from serving.services.commit_queue import CommitQueue
from serving.web import authentication

from .conftest import NOW, Service

STRANGE = "rk_aaaaaaaaaaaa_" + "x" * 43
N_TRIES = 3_000


@pytest.fixture
def eager(start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service that looks at its keys all the time."""
    monkeypatch.setattr(background, "SECONDS_BETWEEN_LOOKS", 0.002)
    return start()


def status_after(service: Service, credential: str, former: int) -> int:
    """What it is answered as soon as that is no longer what it was."""
    for _ in range(N_TRIES):
        status = service.ask("GET", "/v1/offers", credential).status_code
        if status != former:
            return status
        service.run(asyncio.sleep(0.005))
    return former


def test_a_key_ends_although_the_database_is_away(eager: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    key, record = new_key(Role.ADMIN, NOW, NOW + timedelta(minutes=5))
    eager.store.add_key(record)
    eager.refresh()
    portal = eager.keys[Role.PORTAL]

    def gone(*_: Any, **__: Any) -> Any:
        raise StoreUnavailableError("gone")

    async def stay_away(_: CommitQueue) -> bool:
        return False

    with monkeypatch.context() as away:
        for name in ("keys", "token_keys", "content_version"):
            away.setattr(eager.store, name, gone)
        away.setattr(CommitQueue, "_has_returned", stay_away)
        for _ in range(N_TRIES):
            if eager.app.state.services.commits.are_reads_away:
                break
            assert eager.ask("GET", "/v1/offers", key).status_code == 200
            eager.run(asyncio.sleep(0.005))
        assert eager.app.state.services.commits.are_reads_away
        eager.clock.move(minutes=5)
        assert status_after(eager, key, 200) in (401, 503)
        assert eager.ask("GET", "/v1/offers", portal).status_code == 200


def test_a_key_is_revoked_although_a_bundle_takes_long_to_load(
    eager: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, begun = Event(), Event()

    def load(_now: Any) -> None:
        begun.set()
        loaded.wait()

    marketer = eager.keys[Role.MARKETER]
    with monkeypatch.context() as slow:
        slow.setattr(eager.app.state.services.scoring, "refresh", load)
        try:
            assert eager.run(asyncio.to_thread(begun.wait, 30))
            eager.store.revoke_key(marketer.split("_")[1], NOW)
            assert status_after(eager, marketer, 200) == 401
        finally:
            loaded.set()


@pytest.mark.parametrize("is_away", [False, True])
def test_a_stranger_is_refused_while_the_keys_are_being_read(
    service: Service, monkeypatch: pytest.MonkeyPatch, is_away: bool
) -> None:
    begun, goes_on = Event(), Event()
    read = service.store.keys

    def slow() -> Any:
        begun.set()
        goes_on.wait()
        if is_away:
            raise StoreUnavailableError("gone")
        return read()

    async def ask_meanwhile() -> tuple[int, int]:
        doorkeeper = service.app.state.doorkeeper
        refreshing = asyncio.create_task(asyncio.to_thread(doorkeeper.refresh))
        await asyncio.to_thread(begun.wait)
        header = {"Authorization": f"Bearer {STRANGE}"}
        try:
            during = await service.client.get("/v1/offers", headers=header)
        finally:
            goes_on.set()
        await asyncio.gather(refreshing, return_exceptions=True)
        after = await service.client.get("/v1/offers", headers=header)
        return during.status_code, after.status_code

    with monkeypatch.context() as held:
        held.setattr(authentication, "_SECONDS_BETWEEN_READS", 1e9)
        held.setattr(service.store, "keys", slow)
        # Only where the keys could not be read may it be that a key is unknown here and yet valid.
        assert service.run(ask_meanwhile()) == (401, 503 if is_away else 401)
    service.refresh()
