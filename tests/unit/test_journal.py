"""The journal: what was acknowledged is there after any kill, once; what was not is not."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import ConfigError, ConflictError, DataError, StoreUnavailableError
from serving.orders import Assignment
from serving.ports import Answer, LogDecisions, LoggedDecision
from serving.services.journal import Journal, JournalError, make_folder
from serving.services.journal_files import MAGIC, JournalFile, decode, encode, record
from serving.services.replay import replay
from serving.storage.memory import MemoryStore

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
Value = TypeVar("Value")


def decision(decision_id: str, client_id: str = "c-1") -> LoggedDecision:
    return LoggedDecision(
        decision_id=decision_id,
        client_id=client_id,
        member_id=None,
        placement_id="home",
        channel="web",
        occurred_at=NOW,
        seed=2**62,
        policy_version="p",
        catalogue_version="c",
        bundle_version=None,
        state_version=3,
        is_personalised=True,
        degraded="store_unavailable",
        basis="holdings",
        items=b'[[1,"crm","new",0.25,["popular"]]]',
        candidates='{"title":"Связь"}'.encode(),
        request=b'{"k":1}',
    )


def write(name: str, *, digest: bytes = b"\xff\x00", request_id: str | None = None) -> LogDecisions:
    answer = None if request_id is None else Answer(request_id, digest, f'{{"of":"{name}"}}'.encode(), NOW)
    return LogDecisions((decision(name),), answer)


def run(folder: Path, work: Callable[[Journal], Awaitable[Value]]) -> Value:
    async def inside() -> Value:
        journal = Journal(folder)
        journal.start()
        try:
            return await work(journal)
        finally:
            await journal.close()

    return asyncio.run(inside())


async def adopt(journal: Journal) -> None:
    journal.claim()
    await journal.adopted()


def replay_all(journal: Journal, commit: Any) -> int:
    """Replay until nothing waits; returns how many decisions did."""
    n_replayed = 0
    while (n := replay(journal, commit)) is not None:
        n_replayed += n
    return n_replayed


def kept(folder: Path, store: MemoryStore | None = None) -> list[str]:
    """The decisions that a replay by a new process stores."""
    used = MemoryStore() if store is None else store

    async def work(journal: Journal) -> None:
        await adopt(journal)
        replay_all(journal, used.commit)

    thread = Thread(target=run, args=(folder, work))  # a test may be in a loop of its own
    thread.start()
    thread.join()
    return [str(row["decision_id"]) for row in used.read_rows("decisions")]


def test_a_record_says_everything() -> None:
    triggered = Assignment("e", "c-1", "client:c-1", "b", NOW, NOW, "d-1", is_forced=True)
    waiting = Assignment("f", "c-1", "client:c-1", "a", NOW)
    told = LogDecisions(
        (decision("d-1"), decision("d-2")),
        Answer("r-1", bytes(range(32)), '{"title":"Связь"}'.encode(), NOW),
        (triggered, waiting),
    )
    read = decode(encode(told))
    assert read.is_replayed
    assert (read.decisions, read.answer, read.assignments) == (told.decisions, told.answer, told.assignments)
    assert decode(encode(LogDecisions((decision("d-3"),)))).answer is None


def test_what_was_kept_is_replayed_once_in_its_order(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        await asyncio.gather(*[journal.keep(write(f"d-{number}")) for number in range(9)])
        assert journal.n_waiting == 9
        assert journal.has_pending()

    run(tmp_path, work)
    store = MemoryStore()
    names = [f"d-{number}" for number in range(9)]
    assert kept(tmp_path, store) == names
    assert list(tmp_path.iterdir()) == []
    assert kept(tmp_path, store) == names


def test_a_replay_that_breaks_off_is_begun_again_and_doubles_nothing(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        for number in range(3):
            await journal.keep(write(f"d-{number}", request_id=f"r-{number}"))

    run(tmp_path, work)
    store = MemoryStore()

    def commit_and_lose(writes: Any) -> Any:
        store.commit(writes[:2])
        raise StoreUnavailableError("gone in the middle")

    async def replay_twice(journal: Journal) -> None:
        await adopt(journal)
        with pytest.raises(StoreUnavailableError):
            replay(journal, commit_and_lose)
        assert journal.n_waiting == 3
        assert replay_all(journal, store.commit) == 3
        assert (journal.n_waiting, journal.has_pending()) == (0, False)

    run(tmp_path, replay_twice)
    assert [row["decision_id"] for row in store.read_rows("decisions")] == ["d-0", "d-1", "d-2"]


def test_a_file_of_somebody_alive_is_left_alone(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        await journal.keep(write("d-1"))
        assert kept(tmp_path) == []
        assert Journal(tmp_path).has_pending()

    run(tmp_path, work)
    assert kept(tmp_path) == ["d-1"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3), st.integers(0, 2_000), st.binary(max_size=40))
def test_a_torn_end_is_dropped_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, n_whole: int, n_cut: int, rubbish: bytes
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    file = JournalFile.create(folder)
    for number in range(n_whole):
        file.append([record(write(f"d-{number}"))])
    whole = file.path.read_bytes()
    file.append([record(write("torn"))])
    torn = file.path.read_bytes()[len(whole) :]
    file.close()
    part = torn[: min(n_cut, len(torn) - 1)]
    # what lay on the disk before may follow
    file.path.write_bytes(
        whole + part + (rubbish if len(part) >= 8 and rubbish != torn[len(part) :] else b"")
    )
    assert kept(folder) == [f"d-{number}" for number in range(n_whole)]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("left", [b"", MAGIC[:5], MAGIC, MAGIC + bytes(64)], ids=["0", "5", "head", "zeros"])
def test_a_file_without_a_record_holds_nothing(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "1-a.journal").write_bytes(left)
    assert kept(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    file = JournalFile.create(tmp_path)
    file.append([record(write("d-1")), record(write("d-2"))])
    file.close()
    content = bytearray(file.path.read_bytes())
    content[-3] ^= 1
    file.path.write_bytes(content)
    assert kept(tmp_path) == ["d-1"]


def test_a_record_that_this_program_cannot_read_is_set_aside(tmp_path: Path) -> None:
    told = {name: getattr(decision("d-2"), name) for name in LoggedDecision.__annotations__}
    strange = LogDecisions((LoggedDecision(**{**told, "items": None}),))
    file = JournalFile.create(tmp_path)
    for one in (write("d-1"), strange, write("d-3")):
        file.append([record(one)])
    file.close()
    assert kept(tmp_path) == ["d-1", "d-3"]
    assert [path.name for path in tmp_path.iterdir()] == ["refused.jsonl"]


def test_files_that_cannot_be_taken_are_left_where_they_are_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "1-a.journal").write_bytes(b"recsys-journal-9\n and what only that version can read")
    (tmp_path / "2-a.journal").mkdir()  # whoever runs this may open any file, but not this
    (tmp_path / "3-a.journal").write_bytes(MAGIC)
    n_open = len(list(Path("/proc/self/fd").iterdir()))

    async def work(journal: Journal) -> None:
        for _ in range(3):
            await adopt(journal)
            assert replay_all(journal, MemoryStore().commit) == 0
            assert journal.n_strange == 2
            assert not journal.has_pending(), "events would be refused for ever"
        assert len(list(Path("/proc/self/fd").iterdir())) <= n_open + 3, "of the loop"
        (tmp_path / "1-a.journal").unlink()
        await adopt(journal)
        assert journal.n_strange == 1

    run(tmp_path, work)
    assert [path.name for path in tmp_path.iterdir()] == ["2-a.journal"]
    assert [each.getMessage() for each in caplog.records].count("journal_strange") == 2


def test_a_file_that_cannot_be_read_is_let_go_and_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, lambda journal: journal.keep(write("d-1")))

    def fail(_file: JournalFile) -> int:
        raise OSError("input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(JournalFile, "take_stock", fail)
        assert kept(tmp_path) == []
    assert kept(tmp_path) == ["d-1"]


def test_only_what_the_store_refuses_for_good_is_set_aside(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        for name in ("d-1", "bad", "d-2"):
            await journal.keep(write(name))

    run(tmp_path, work)
    store = MemoryStore()

    def refuse(writes: Any) -> Any:
        names = [each.decisions[0].decision_id for each in writes]
        results = store.commit([one for one, name in zip(writes, names, strict=True) if name != "bad"])
        return [DataError("never") if name == "bad" else results.pop(0) for name in names]

    def fail(_writes: Any) -> Any:
        raise ZeroDivisionError("nobody knows why")

    async def replay_twice(journal: Journal) -> None:
        await adopt(journal)
        with pytest.raises(ZeroDivisionError):
            replay(journal, fail)
        assert journal.n_waiting == 3
        assert not (tmp_path / "refused.jsonl").exists()
        replay_all(journal, refuse)

    run(tmp_path, replay_twice)
    assert [row["decision_id"] for row in store.read_rows("decisions")] == ["d-1", "d-2"]
    (left,) = tmp_path.iterdir()
    assert left.name == "refused.jsonl"
    assert left.stat().st_mode & 0o077 == 0
    assert decode(left.read_bytes().strip()).decisions[0].decision_id == "bad"


def test_a_long_journal_is_replayed_in_small_parts(tmp_path: Path) -> None:
    file = JournalFile.create(tmp_path)
    file.append([record(write(f"d-{number:04d}")) for number in range(600)])
    file.close()
    store, sizes, waited = MemoryStore(), [], []

    async def work(journal: Journal) -> None:
        def commit(writes: Any) -> Any:
            sizes.append(len(writes))
            return store.commit(writes)

        await adopt(journal)
        while replay(journal, commit) is not None:
            waited.append(journal.n_waiting)

    run(tmp_path, work)
    assert (sizes, waited) == ([256, 256, 88], [344, 88, 0, 0])
    assert [row["decision_id"] for row in store.read_rows("decisions")] == [f"d-{n:04d}" for n in range(600)]


def test_what_cannot_be_written_down_harms_no_other(tmp_path: Path) -> None:
    bad = LogDecisions((decision("bad")._replace(member_id="\ud800"),))

    async def work(journal: Journal) -> None:
        kinds = [
            type(each)
            for each in await asyncio.gather(
                journal.keep(write("d-1")),
                journal.keep(bad),
                journal.keep(write("d-2")),
                return_exceptions=True,
            )
        ]
        assert kinds == [type(None), JournalError, type(None)]
        assert journal.fault is None, "the disk is well"

    run(tmp_path, work)
    assert kept(tmp_path) == ["d-1", "d-2"]


def test_a_disk_that_hangs_does_not_keep_the_journal_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = Event()
    monkeypatch.setattr("serving.services.journal._SECONDS_TO_CLOSE", 0.05)
    monkeypatch.setattr(JournalFile, "append", lambda *_asked: free.wait(60))

    async def work() -> None:
        journal = Journal(tmp_path)
        journal.start()
        waiting = asyncio.ensure_future(journal.keep(write("d-1")))
        await asyncio.sleep(0)
        await journal.close()
        assert not waiting.done(), "it hangs yet"
        free.set()
        await waiting

    asyncio.run(work())


def test_a_retry_gets_the_answer_that_is_kept(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        first = write("d-1", request_id="r-1")
        assert await journal.keep(first) == first.answer
        again = await journal.keep(write("d-2", request_id="r-1"))
        assert again == first.answer == journal.answer("r-1")
        with pytest.raises(ConflictError, match="r-1"):
            await journal.keep(write("d-3", request_id="r-1", digest=b"another"))
        assert journal.answer("r-2") is None

    run(tmp_path, work)
    assert kept(tmp_path) == ["d-1"]


def test_twins_that_come_together_get_one_answer(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        twins = [journal.keep(write(f"d-{number}", request_id="r-1")) for number in range(5)]
        assert len(set(await asyncio.gather(*twins))) == 1

    run(tmp_path, work)
    assert len(kept(tmp_path)) == 1


def test_an_adopted_answer_is_given_again(tmp_path: Path) -> None:
    first = write("d-1", request_id="r-1")
    run(tmp_path, lambda journal: journal.keep(first))

    async def retry(journal: Journal) -> Answer | None:
        journal.claim()
        return await journal.keep(write("d-2", request_id="r-1"))

    assert run(tmp_path, retry) == first.answer
    assert kept(tmp_path) == ["d-1"]


def test_decisions_of_twins_in_two_workers_are_both_stored_and_one_answer_stays(tmp_path: Path) -> None:
    for name, digest in (("d-1", b"one"), ("d-2", b"other")):
        run(tmp_path, lambda journal, n=name, d=digest: journal.keep(write(n, request_id="r-1", digest=d)))
    store = MemoryStore()
    assert sorted(kept(tmp_path, store)) == ["d-1", "d-2"]
    stored = store.answer("r-1")
    assert stored is not None
    assert stored.body in (b'{"of":"d-1"}', b'{"of":"d-2"}')


def test_a_folder_that_cannot_be_made_keeps_nothing_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")

    async def work(journal: Journal) -> None:
        for number in range(3):
            with pytest.raises(JournalError, match="cannot be written"):
                await journal.keep(write(f"d-{number}"))
        assert journal.fault is not None

    run(tmp_path / "file" / "journal", work)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["journal_unwritable"]
    with pytest.raises(ConfigError, match="RECSYS_JOURNAL_DIR"):
        make_folder(tmp_path / "file" / "journal")


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 10,000 bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_loses_nothing_that_was_kept(tmp_path: Path, small_files: None) -> None:
    async def work(journal: Journal) -> list[str]:
        told = []
        for number in range(60):
            try:
                await journal.keep(write(f"d-{number:02d}"))
            except JournalError:
                continue
            told.append(f"d-{number:02d}")
        return told

    told = run(tmp_path, work)
    assert 0 < len(told) < 60
    assert kept(tmp_path) == told


KEEPER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_journal import Journal, write

async def keep():
    journal = Journal(Path(sys.argv[1]))
    journal.start()
    number = 0
    while True:
        names = [f"d-{number + each:06d}" for each in range(7)]
        await asyncio.gather(*[journal.keep(write(name)) for name in names])
        print(*names, sep="\\n", flush=True)
        number += 7

asyncio.run(keep())
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(tmp_path), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(70)]
        os.kill(process.pid, signal.SIGKILL)
        told += process.stdout.read().split()
    stored = kept(tmp_path)
    whole = {name for name in told if len(name) == len("d-000000")}
    assert whole <= set(stored)
    assert len(stored) == len(set(stored))
    assert set(stored) - whole <= {f"d-{len(whole) + each:06d}" for each in range(-7, 14)}
