"""The thread of models in shadow ends in bounded time, whatever it is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Any

import pytest

from serving.orders import ShadowDecision
from serving.services import shadow
from serving.services.shadow import Shadow
from serving.storage.memory import MemoryStore


class SlowStore(MemoryStore):
    """A store that waits until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.may_go_on = Event(), Event()
        self.n_batches = 0

    def put_shadow_decisions(self, found: Sequence[ShadowDecision]) -> None:
        self.n_batches += 1
        self.is_asked.set()
        self.may_go_on.wait(30)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[[SlowStore, float], tuple[Shadow, Thread]]:
    """Gives a `Shadow` whose thread hangs in its first batch, while the queue is full."""

    def started(store: SlowStore, seconds: float) -> tuple[Shadow, Thread]:
        monkeypatch.setattr(shadow, "compare", lambda _sampled: [])
        monkeypatch.setattr(shadow, "_PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(shadow, "_SECONDS_TO_END", seconds)
        each: Any = object()
        kept = Shadow(store, 1.0)
        thread = kept._thread = Thread(target=kept._work, args=(store,), daemon=True)
        kept._waiting.put_nowait(each)
        thread.start()
        assert store.is_asked.wait(30)
        while not kept._waiting.full():
            kept._waiting.put_nowait(each)
        return kept, thread

    return started


def test_closing_does_not_wait_for_a_store_that_hangs(
    start: Callable[[SlowStore, float], tuple[Shadow, Thread]],
) -> None:
    store = SlowStore()
    kept, thread = start(store, 0.05)
    closing = Thread(target=kept.close, daemon=True)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    store.may_go_on.set()
    thread.join(30)
    assert not thread.is_alive()
    assert store.n_batches == 1, "its time was over"


def test_closing_finishes_what_waits(start: Callable[[SlowStore, float], tuple[Shadow, Thread]]) -> None:
    store = SlowStore()
    kept, thread = start(store, 30.0)
    closing = Thread(target=kept.close, daemon=True)
    closing.start()
    store.may_go_on.set()
    closing.join(30)
    assert not closing.is_alive()
    assert not thread.is_alive()
    assert store.n_batches == 1 + 256 // 64
    kept.close()
