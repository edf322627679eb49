"""Bundles promoted, broken and fought over while two workers answer: no request fails, no versions mix."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from serving.orders import BundleAction, BundleOrder
from serving.services.bundles import publish_bundle
from serving.services.experiments import Voice
from serving.storage.sql import SqlStore

Compare = Callable[..., None]
NewOperator = Callable[[str], Any]
NewBundle = Callable[..., str]
OFFERS = tuple(f"o{number:02d}" for number in range(12))
FAVOURITES = OFFERS[3:7]
N_ANSWERS = 60
N_WORKERS = 2


@dataclass
class Stand:
    """A server of two workers under load, with published bundles.

    Attributes:
        favourites: The offer that the models of each version show first.
        lives: Every version that was live, however shortly.
        followed: Those that both workers had in use.
        seconds: From each order until both workers had followed it.
    """

    operator: Any
    server: Any
    load: Any
    favourites: dict[str, str]
    lives: list[str] = field(default_factory=list)
    followed: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def order(self, url: str, **body: Any) -> tuple[int, dict[str, Any]]:
        """Say something of bundles over HTTP."""
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        try:
            headers = {"Authorization": f"Bearer {self.operator.key}", "Content-Type": "application/json"}
            connection.request("POST", f"/v1/bundles{url}", json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def worlds_after(self, n_lines: int, version: str) -> dict[int, dict[str, Any]]:
        """The last world with a version in use that each worker logged after so many lines, by its pid."""
        lines = self.server.told("world_changed")[n_lines:]
        return {line["pid"]: line for line in lines if line["bundle"] == version}

    def try_in_shadow(self, version: str) -> None:
        """Let both workers score with a version beside the live one, and wait until they did."""
        before = len(self.server.told("world_changed"))
        status, said = self.order(f"/{version}/promote", to="shadow")
        assert status == 200, said

        def trying() -> set[int]:
            lines = self.server.told("world_changed")[before:]
            return {line["pid"] for line in lines if line["shadow"] == version}

        self.load.wait_until(lambda: len(trying()) == N_WORKERS, f"both workers to try {version}")
        self.load.wait_for(N_ANSWERS // 2)

    def follow(self, url: str, **body: Any) -> str:
        """Say something that makes another bundle live, and wait until both workers have it in use."""
        before = len(self.server.told("world_changed"))
        said_at = datetime.now(UTC)
        status, answer = self.order(url, **body)
        assert status == 200, answer
        version = str(answer["version"])
        self.lives.append(version)

        def changed() -> dict[int, dict[str, Any]]:
            return self.worlds_after(before, version)

        self.load.wait_until(lambda: len(changed()) == N_WORKERS, f"both workers to serve {version}")
        followed_at = max(datetime.fromisoformat(line["at"]) for line in changed().values())
        self.seconds.append((followed_at - said_at).total_seconds())
        self.followed.append(version)
        self.load.wait_for(N_ANSWERS)
        return version

    def check(self, compare: Compare) -> None:
        """Every answer came at once, from models that were live, and is wholly theirs."""
        ledger = self.load.ledger
        assert set(ledger.statuses) == {200}
        assert ledger.n_broken == 0
        for answer in ledger.answers.values():
            version = answer["versions"]["bundle"]
            assert version in self.lives, "an answer of models that were never live"
            assert answer["degraded"] is None
            first = answer["placements"][0]["items"][0]["offer_id"]
            assert first == self.favourites[version], f"the list of other models than {version}"
        seen = {answer["versions"]["bundle"] for answer in ledger.answers.values()}
        assert set(self.followed) <= seen, "models that were live never answered"
        compare(self.operator, ledger)
        sys.stdout.write(
            f"both workers followed after {', '.join(f'{each:.2f}' for each in self.seconds)} s\n"
        )


@pytest.fixture
def stand(new_operator: NewOperator, new_bundle: NewBundle) -> Callable[..., Any]:
    @contextmanager
    def open_stand(database_url: str) -> Iterator[Stand]:
        operator = new_operator(database_url)
        operator.settings["RECSYS_SHADOW_SHARE"] = "1.0"
        favourites = {new_bundle(operator.bundles, OFFERS, each): each for each in FAVOURITES}
        store = SqlStore(database_url)
        for version in favourites:
            publish_bundle(store, operator.bundles, version, Voice("test", datetime.now(UTC)))
        store.close()
        server = operator.serve(N_WORKERS)
        first = server.ready()["bundle"]
        with operator.load(server) as load:
            load.wait_until(lambda: len(server.told("worker_started")) == N_WORKERS, "both workers to start")
            yield Stand(operator, server, load, favourites, [first])

    return open_stand


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"


def swap_often(stand: Stand, n_swaps: int) -> None:
    """Promote one after the other, each tried in shadow before, and roll back in between."""
    versions = list(stand.favourites)
    live = stand.lives[-1]
    for number in range(n_swaps):
        wanted = next(each for each in versions[number % len(versions) :] + versions if each != live)
        stand.try_in_shadow(wanted)
        live = stand.follow(f"/{wanted}/promote", reason="the plan")
    if n_swaps > 1:
        stand.follow("/roll-back", reason="it was worse")


def fight(stand: Stand, n_rounds: int) -> None:
    """Two people promote at once, again and again: one of them is told, and both workers agree."""
    versions, n_stood = list(stand.favourites), 0
    n_before = len(promotions(stand.operator.database_url))
    with ThreadPoolExecutor(2) as people:
        for number in range(n_rounds):
            wanted = [versions[(number + step) % len(versions)] for step in (1, 2)]
            found = list(people.map(lambda version: stand.order(f"/{version}/promote"), wanted))
            assert {status for status, _ in found} <= {200, 409}, found
            stood = [str(said["version"]) for status, said in found if status == 200]
            assert stood, "nobody was heard"
            n_stood += len(stood)
            stand.lives.extend(stood)
            stand.load.wait_for(10)
    promoted = promotions(stand.operator.database_url)
    assert len(promoted) == n_before + n_stood, "an order was told as given and is not kept, or twice"
    last = promoted[-1]
    mark = f"bundles={last.number})"

    def agree() -> bool:
        worlds = stand.worlds_after(0, last.version).values()
        return sum(line["content"].endswith(mark) for line in worlds) == N_WORKERS

    stand.load.wait_until(agree, "both workers to agree")
    stand.followed.append(last.version)
    stand.load.wait_for(N_ANSWERS)


def promotions(database_url: str) -> list[BundleOrder]:
    """What was promoted; the numbers of all orders have no gap."""
    store = SqlStore(database_url)
    orders = store.bundle_orders()
    store.close()
    assert [order.number for order in orders] == list(range(1, len(orders) + 1))
    return [order for order in orders if order.action is BundleAction.PROMOTE]


@pytest.mark.parametrize("n_swaps", [3, pytest.param(40, marks=pytest.mark.soak)])
def test_bundles_are_swapped_and_fought_over_under_load(
    stand: Any, sqlite: str, compare: Compare, n_swaps: int
) -> None:
    with stand(sqlite) as opened:
        swap_often(opened, n_swaps)
        fight(opened, n_swaps)
    opened.check(compare)
    store = SqlStore(sqlite)
    n_kept = sum(1 for _ in store.read_rows("shadow_decisions"))
    store.close()
    assert n_kept > 0, "nothing was tried in shadow"


@pytest.mark.soak
def test_bundles_are_swapped_under_load_on_postgresql(stand: Any, postgresql: Any, compare: Compare) -> None:
    with stand(postgresql.get_uri()) as opened:
        swap_often(opened, 20)
        fight(opened, 20)
    opened.check(compare)


def test_a_bundle_that_breaks_after_it_was_promoted_changes_nothing_until_it_is_whole(
    stand: Any, sqlite: str, compare: Compare
) -> None:
    with stand(sqlite) as opened:
        good, broken, other = list(opened.favourites)[:3]
        opened.follow(f"/{good}/promote")
        whole = opened.operator.bundles.parent / "whole"
        folder = opened.operator.bundles / broken
        shutil.copytree(folder, whole)
        damage(folder)
        status, said = opened.order(f"/{broken}/promote")
        assert (status, said["error"]["code"]) == (409, "conflict")
        order_by_hand(sqlite, broken)  # as somebody on another machine would, whose folder is whole
        opened.load.wait_until(
            lambda: len(opened.server.told("bundle_refused")) >= N_WORKERS, "both workers to refuse it"
        )
        ready = opened.server.ready()
        assert (ready["status"], ready["bundle"]) == ("degraded", good)
        assert broken in ready["faults"][0]
        opened.load.wait_for(N_ANSWERS)
        n_refusals = len(opened.server.told("bundle_refused"))
        assert n_refusals == N_WORKERS, "it is told once"
        shutil.rmtree(folder)
        whole.rename(folder)
        opened.load.wait_until(
            lambda: len(opened.worlds_after(0, broken)) == N_WORKERS, "both workers to heal"
        )
        opened.lives.append(broken)
        opened.followed.append(broken)
        opened.load.wait_for(N_ANSWERS)
        opened.follow(f"/{other}/promote")
    opened.check(compare)


def order_by_hand(database_url: str, version: str) -> None:
    """Promote a bundle without looking at its folder."""
    store = SqlStore(database_url)
    orders = store.bundle_orders()
    published = next(order for order in orders if order.version == version)
    store.put_bundle_order(replace(published, number=len(orders) + 1, action=BundleAction.PROMOTE))
    store.close()


def damage(bundle: Path) -> None:
    """Cut a byte off one of its files."""
    path = min(bundle.glob("*.npy"))
    path.write_bytes(path.read_bytes()[:-1])
