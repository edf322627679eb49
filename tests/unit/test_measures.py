"""Figures: counted exactly, merged over workers, written as Prometheus reads them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.telemetry.exposition import exposition
from serving.telemetry.measures import BOUNDS, Measures, Snapshot
from serving.telemetry.names import METRICS, Kind
from serving.telemetry.spool import Spool, clear

CAUSES, STAGES, QUEUE = "recsys_fallbacks_total", "recsys_stage_seconds", "recsys_commit_queue_length"
READY, LOOK = "recsys_ready", "recsys_look_age_seconds"


def parsed(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(text: bytes, name: str, **labels: str) -> float:
    return parsed(text)[name, tuple(sorted(labels.items()))]


def one_worker(n_waiting: float, n_fallbacks: int, *, is_ready: bool = True) -> Measures:
    measures = Measures()
    measures.count(CAUSES, "no_bundle", n=n_fallbacks)
    measures.time(STAGES, "read", seconds=0.0015, n=2)
    measures.watch(QUEUE, lambda: n_waiting)
    measures.watch(READY, lambda: is_ready)
    measures.watch(LOOK, lambda: n_waiting / 10)
    return measures


def test_every_metric_has_a_prefix_and_a_counter_its_ending() -> None:
    for name, metric in METRICS.items():
        assert name.startswith("recsys_")
        assert name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert metric.text


def test_a_histogram_counts_what_is_at_most_its_bound() -> None:
    measures = Measures()
    for seconds in (0.0005, 0.00051, 0.001, 40.0):
        measures.time(STAGES, "read", seconds=seconds)
    text = exposition(measures.snapshot())
    assert value(text, f"{STAGES}_bucket", stage="read", le="0.0005") == 1
    assert value(text, f"{STAGES}_bucket", stage="read", le="0.001") == 3
    assert value(text, f"{STAGES}_bucket", stage="read", le=str(BOUNDS[-1])) == 3
    assert value(text, f"{STAGES}_bucket", stage="read", le="+Inf") == 4
    assert value(text, f"{STAGES}_count", stage="read") == 4
    assert value(text, f"{STAGES}_sum", stage="read") == pytest.approx(40.00201)


def test_one_observation_may_stand_for_all_who_waited() -> None:
    measures = Measures()
    measures.time(STAGES, "decide", seconds=0.004, n=16)
    text = exposition(measures.snapshot())
    assert value(text, f"{STAGES}_count", stage="decide") == 16
    assert value(text, f"{STAGES}_sum", stage="decide") == pytest.approx(0.064)


def test_labels_are_escaped() -> None:
    measures = Measures()
    measures.count(CAUSES, 'quo"te\\and\nline')
    assert value(exposition(measures.snapshot()), CAUSES, cause='quo"te\\and\nline') == 1


def test_workers_are_added_up_and_each_kind_of_gauge_in_its_way(tmp_path: Path) -> None:
    spools = [Spool(tmp_path), Spool(tmp_path)]
    spools[0].write(one_worker(3, 1).snapshot())
    text = exposition(spools[1].merged(one_worker(4, 2, is_ready=False).snapshot()))
    assert value(text, CAUSES, cause="no_bundle") == 3
    assert value(text, f"{STAGES}_count", stage="read") == 4
    assert value(text, QUEUE) == 7
    assert value(text, READY) == 0
    assert value(text, LOOK) == pytest.approx(0.4)


def test_a_worker_does_not_count_what_it_left_itself(tmp_path: Path) -> None:
    spool, measures = Spool(tmp_path), one_worker(1, 5)
    spool.write(measures.snapshot())
    assert value(exposition(spool.merged(measures.snapshot())), CAUSES, cause="no_bundle") == 5


def age(folder: Path, seconds: float) -> None:
    past = time.time() - seconds
    for path in folder.glob("*.figures"):
        os.utime(path, (past, past))


def test_a_dead_worker_keeps_its_counts_and_loses_its_gauges(tmp_path: Path) -> None:
    dead, alive = Spool(tmp_path), Spool(tmp_path)
    dead.write(one_worker(100, 8, is_ready=False).snapshot())
    age(tmp_path, 30)
    text = exposition(alive.merged(one_worker(1, 1).snapshot()))
    assert value(text, CAUSES, cause="no_bundle") == 9
    assert value(text, QUEUE) == 1
    assert value(text, READY) == 1


def test_long_dead_workers_are_folded_into_one_file_once(tmp_path: Path) -> None:
    for n in range(1, 4):
        Spool(tmp_path).write(one_worker(1, n).snapshot())
    age(tmp_path, 4000)
    fresh = Spool(tmp_path)
    fresh.fold()
    assert [path.name for path in tmp_path.glob("*.figures")] == ["past.figures"]
    Spool(tmp_path).write(one_worker(1, 10).snapshot())
    age(tmp_path, 4000)
    fresh.fold()
    fresh.fold()
    assert [path.name for path in tmp_path.glob("*.figures")] == ["past.figures"]
    text = exposition(fresh.merged(Snapshot()))
    assert value(text, CAUSES, cause="no_bundle") == 16
    assert (QUEUE, ()) not in parsed(text)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"counts": [["nobody", 1]], "times": [], "gauges": [], "bins": {}}']
)
def test_a_file_that_nobody_can_read_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "7-broken.figures").write_bytes(content)
    text = exposition(Spool(tmp_path).merged(one_worker(1, 2).snapshot()))
    assert value(text, CAUSES, cause="no_bundle") == 2


def test_a_new_server_starts_from_zero(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    clear(folder)
    Spool(folder).write(one_worker(1, 2).snapshot())
    (folder / "notes.txt").write_text("not ours")
    clear(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_snapshot_survives_json() -> None:
    snapshot = one_worker(2, 3).snapshot()
    snapshot.bins["b-1"] = [[1, 2], [3, 0]]
    again = Snapshot.from_json(snapshot.to_json())
    assert exposition(again) == exposition(snapshot)
    again.add(snapshot)
    assert again.bins == {"b-1": [[2, 4], [6, 0]]}
