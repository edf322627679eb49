"""Several workers on one database: what one of them is told, all of them do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from serving.app import create_app
from serving.ports import Role
from serving.security.keys import new_key
from serving.settings import Settings
from serving.storage.sql import SqlStore

T0 = datetime(2025, 1, 1, tzinfo=UTC)
SECONDS_TO_GIVE_UP = 60


@asynccontextmanager
async def worker(database_url: str, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """A worker with a store and a watch of its own, as each process has."""
    app = create_app(Settings(database_url=database_url))
    transport = httpx.ASGITransport(app)
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client,
    ):
        yield client


async def until(client: httpx.AsyncClient, url: str, is_seen: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(SECONDS_TO_GIVE_UP):
        while not is_seen((await client.get(url)).json()):
            await asyncio.sleep(0.02)


def is_stopped(answer: dict[str, Any]) -> bool:
    return bool(answer["offers"][0]["is_stopped"])


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_stop_and_a_policy_reach_every_worker(
    migrated_database: Callable[[str], str], backend: str
) -> None:
    database_url = migrated_database(backend)
    store = SqlStore(database_url)
    store.upsert_rows("offers", [{"offer_id": "crm", "kind": "own", "recorded_at": T0}], T0)
    key, record = new_key(Role.ADMIN, T0)
    store.add_key(record)
    store.close()

    async def tell_one_and_look_at_both() -> None:
        async with AsyncExitStack() as stack:
            workers = [await stack.enter_async_context(worker(database_url, key)) for _ in range(2)]
            for client in workers:
                assert not is_stopped((await client.get("/v1/offers")).json())
            told = await workers[0].post("/v1/offers/crm/stop", json={"reason": "wrong price"})
            assert told.status_code == 200, told.text
            for client in workers:
                await until(client, "/v1/offers", is_stopped)
            await workers[1].post("/v1/offers/crm/resume", json={"reason": "corrected"})
            for client in workers:
                await until(client, "/v1/offers", lambda answer: not is_stopped(answer))
            documents = {"vip.yaml": "min_mean_spend_minor: 5\n"}
            published = await workers[1].post("/v1/policies", json={"documents": documents})
            version = published.json()["version"]
            for client in workers:
                await until(client, "/ready", lambda answer: answer["policy"] == version)

    asyncio.run(tell_one_and_look_at_both())
