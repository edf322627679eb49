"""A feed is loaded while decisions and events are written: nothing is lost, doubled or undone by it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag

import pytest

from recsys.domain import ClientId, DecisionId, Event, EventId, EventType
from recsys.errors import DataError
from serving.ports import LogDecisions, LoggedDecision, RecordEvents, Store
from serving.services.load import load

NOW = datetime.now(UTC)
N_CLIENTS, N_WRITERS = 200, 3


def write_feed(folder: Path, n_clients: int, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "dataset.toml").write_text('currency = "RUB"\n')
    clients = [f"c{n},2025-01-01,{NOW.isoformat()},{name} {n}" for n in range(n_clients)]
    (folder / "clients.csv").write_text("\n".join(["client_id,valid_from,recorded_at,name", *clients]))
    (folder / "offers.csv").write_text("offer_id,kind,recorded_at\nmail,own,2025-01-01\n")
    holdings = [f"h{n},c{n},mail,2025-01-01,{NOW.isoformat()}" for n in range(n_clients)]
    head = "holding_id,client_id,offer_id,connected_at,recorded_at"
    (folder / "holdings.csv").write_text("\n".join([head, *holdings]))
    return folder


def decision(decision_id: str, client_id: str) -> LoggedDecision:
    return LoggedDecision(
        decision_id=decision_id,
        client_id=client_id,
        member_id=None,
        placement_id="home",
        channel=None,
        occurred_at=NOW,
        seed=1,
        policy_version=None,
        catalogue_version=None,
        bundle_version=None,
        state_version=1,
        is_personalised=True,
        degraded=None,
        basis="holdings",
        items=b'[[1,"mail","new",1.0,[]]]',
        candidates=b"{}",
        request=b"{}",
    )


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_feed_beside_traffic(new_store: Callable[[str], Store], backend: str, tmp_path: Path) -> None:
    store = new_store(backend)
    load(store, write_feed(tmp_path / "feed", N_CLIENTS, "Альфа"), NOW)
    is_enough = Flag()

    def serve(writer: int) -> list[str]:
        """Decide and record until it is enough; the events that were acknowledged."""
        done: list[str] = []
        while not is_enough.is_set() or not done:
            number = len(done)
            decision_id, client_id = f"d{writer}-{number}", f"c{(writer + number * N_WRITERS) % N_CLIENTS}"
            shown = Event(
                EventId(f"e{writer}-{number}"),
                EventType.IMPRESSION,
                ClientId(client_id),
                NOW,
                decision_id=DecisionId(decision_id),
                slot=1,
            )
            results = store.commit(
                [LogDecisions((decision(decision_id, client_id),)), RecordEvents((shown,), NOW)]
            )
            assert results == [None, [True]]
            done.append(shown.event_id)
        return done

    with ThreadPoolExecutor(N_WRITERS) as pool:
        writers = [pool.submit(serve, writer) for writer in range(N_WRITERS)]
        try:
            with pytest.raises(DataError, match="allow-shrink"):
                load(store, write_feed(tmp_path / "feed", N_CLIENTS // 2, "Гамма"), NOW)
            later = NOW + timedelta(seconds=1)
            load(store, write_feed(tmp_path / "feed", N_CLIENTS + 20, "Бета"), later)
        finally:
            is_enough.set()
        acknowledged = {event_id for writer in writers for event_id in writer.result()}
    assert {row["event_id"] for row in store.read_rows("events")} == acknowledged
    assert len(list(store.read_rows("decisions"))) == len(acknowledged)
    assert store.find_clients("гамма", 1) == []
    assert len(store.find_clients("бета", 1_000)) == N_CLIENTS + 20
    assert {age.source for age in store.source_ages()} >= {"clients", "offers", "holdings"}
    assert store.rebuild_states(as_of=later) == 0
