"""New models score clients before they decide: in one read, at least one client, and never in silence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from recsys.domain import ClientId, ClientState, Profile
from serving.ports import PutClient
from serving.services.warm_up import clients_to_warm_up, warm_up
from serving.services.world import ScoreCache, Scored
from serving.storage.memory import MemoryStore

NOW = datetime(2026, 3, 2, tzinfo=UTC)
CLIENTS = [ClientState(ClientId(f"c-{number}")) for number in range(3)]


class CountingStore(MemoryStore):
    """Counts how often clients are read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        for client_id in ("a", "b", "c"):
            self.commit([PutClient(ClientId(client_id), Profile(), NOW)])

    def client_states_of(self, client_ids: Sequence[ClientId]) -> list[ClientState | None]:
        self.asked.append(list(client_ids))
        return [self._states.get(client_id) for client_id in client_ids]

    def client_state(self, client_id: ClientId) -> ClientState | None:
        raise AssertionError(f"{client_id} is read alone")


def ranking(failing: frozenset[str] = frozenset(), asked: Sequence[str] = ()) -> Any:
    def score(state: ClientState, _: datetime) -> Scored:
        if state.client_id in failing:
            raise ZeroDivisionError(state.client_id)
        return Scored(SimpleNamespace())  # type: ignore[arg-type]

    cache = ScoreCache(10)
    for client_id in asked:
        cache.put(client_id, 0, Scored(SimpleNamespace()))  # type: ignore[arg-type]
    return SimpleNamespace(scorer=SimpleNamespace(mark=lambda *_: 0, score=score), cache=cache)


def test_the_clients_asked_for_last_are_read_at_once() -> None:
    store = CountingStore()
    found = clients_to_warm_up(ranking(asked=("c", "gone", "a")), store)
    assert [state.client_id for state in found] == ["a", "c"]
    assert store.asked == [["a", "gone", "c"]]


@pytest.mark.parametrize("asked", [(), ("gone",)])
def test_where_nobody_is_left_of_them_the_first_clients_are_taken(asked: tuple[str, ...]) -> None:
    found = clients_to_warm_up(ranking(asked=asked), CountingStore())
    assert [state.client_id for state in found] == ["a", "b", "c"]


@pytest.mark.parametrize(("failing", "scored"), [((), "c-0"), (("c-0", "c-1"), "c-2")])
def test_however_slow_the_first_is_one_is_scored(
    monkeypatch: pytest.MonkeyPatch, failing: tuple[str, ...], scored: str
) -> None:
    monkeypatch.setattr("serving.services.warm_up.MAX_SECONDS", -1.0)
    new = ranking(frozenset(failing))
    assert warm_up(new, CLIENTS, NOW) == 1
    assert new.cache.latest(10) == [scored]


def test_models_that_fail_for_everybody_are_told_however_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.services.warm_up.MAX_SECONDS", -1.0)
    with pytest.raises(ZeroDivisionError):
        warm_up(ranking(frozenset(state.client_id for state in CLIENTS)), CLIENTS, NOW)
