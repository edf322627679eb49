"""Where decisions wait while the database is away: files on this machine's disk, synced by group."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import NamedTuple

from recsys.errors import ConfigError, ConflictError
from serving.ports import Answer, LogDecisions
from serving.services.batches import next_batch
from serving.services.journal_files import MAGIC, SUFFIX, JournalFile, Record, record, sync_folder
from serving.services.threads import has_ended
from serving.telemetry import log

_MAX_BATCH = 256
_SECONDS_TO_CLOSE = 5.0


class JournalError(Exception):
    """The journal could not be written; nothing of this was kept."""


class _Entry(NamedTuple):
    record: Record
    future: asyncio.Future[None]


class Journal:
    """Keeps decisions until the store takes them, in files of this process and of dead ones.

    Many requests share one sync, as they share one transaction elsewhere. `keep`, `answer` and `claim` belong
    to the event loop, the rest to whichever thread replays.

    Args:
        folder: Where the files lie; processes of one machine share it. It is made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: SimpleQueue[_Entry | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gate = Lock()
        self._active: JournalFile | None = None
        self._sealed: list[JournalFile] = []
        self._begun: dict[str, asyncio.Future[None]] = {}
        self._n_begun = 0
        self._is_open = True
        self._reader: Thread | None = None
        self._is_read = asyncio.Event()
        self._is_read.set()
        self._strange: dict[Path, str] = {}
        self.fault: str | None = None
        """Why nothing could be written at the last try; None = it could."""

    @property
    def n_waiting(self) -> int:
        """Decisions that wait in the files this process holds."""
        return sum(file.n_decisions for file in self._held())

    @property
    def n_bytes(self) -> int:
        """Bytes of the files that this process holds."""
        return sum(file.n_bytes for file in self._held())

    def _held(self) -> list[JournalFile]:
        """The files that this process holds, the oldest first."""
        active = self._active
        return [*self._sealed, *([] if active is None else [active])]

    def start(self) -> None:
        """Start writing; call on the event loop that will keep."""
        self._loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._write_until_closed, name="journal", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what waits, then let go of the files; they are replayed by whoever finds them."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._entries.put(None)
            if not await has_ended(thread, _SECONDS_TO_CLOSE):
                return  # it hangs in the disk, and its file with it
        with self._gate:
            self._is_open = False
        for file in self._held():
            file.close()
        self._active, self._sealed = None, []

    # Keeping, on the event loop

    async def keep(self, write: LogDecisions) -> Answer | None:
        """Keep decisions; returns once they are durable.

        Returns:
            What is answered under the request_id from now on: an earlier answer, where there is one.

        Raises:
            ConflictError: The request_id was used with another body.
            JournalError: They could not be kept, or can never be written down.
        """
        if self._thread is None or self._loop is None:
            raise JournalError("the journal is closed")
        try:
            kept = record(write)
        except ValueError as error:
            log("decision_refused", level=logging.ERROR, cause=str(error))
            raise JournalError(str(error)) from error
        answer = write.answer
        if answer is not None:
            await self._is_read.wait()
            while (begun := self._begun.get(answer.request_id)) is not None:
                await asyncio.wait((begun,))
            earlier = self.answer(answer.request_id)
            if earlier is not None:
                return same_request(earlier, answer.request_digest)
        future: asyncio.Future[None] = self._loop.create_future()
        if answer is not None:
            self._begun[answer.request_id] = future
        self._n_begun += 1
        self._entries.put(_Entry(kept, future))
        await asyncio.shield(future)  # whoever hangs up is kept all the same
        return answer

    def answer(self, request_id: str) -> Answer | None:
        """The answer that is kept under a request_id."""
        if self._active is None and not self._sealed:
            return None
        found = (file.answer(request_id) for file in self._held())
        return next((answer for answer in found if answer is not None), None)

    async def settle(self) -> None:
        """Wait until everything that was to be kept is, or could not be."""
        while self._n_begun:
            await asyncio.sleep(0.005)

    def has_pending(self) -> bool:
        """Whether decisions wait in the folder, this process's or another's."""
        try:
            return any(
                path.stat().st_size > len(MAGIC) for path in self._files() if path not in self._strange
            )
        except OSError:
            return True  # a file that goes away while it is looked at: look again later

    @property
    def n_strange(self) -> int:
        """Files in the folder that cannot be taken, as far as is known."""
        return len(self._strange)

    def claim(self) -> bool:
        """Take the files of processes that are dead, and begin to read them; returns whether there are any.

        It is quick, and `adopted` tells when they are read.
        """
        held = {file.path for file in self._held()}
        paths = [path for path in self._files() if path not in held]
        for path in self._strange.keys() - set(paths):
            self._strange.pop(path, None)
        if self._reader is not None and self._reader.is_alive():
            return True
        claimed = [file for path in paths if (file := self._taken(path)) is not None]
        if claimed:
            self._is_read.clear()
            self._reader = Thread(target=self._read, args=(claimed,), name="journal-reader", daemon=True)
            self._reader.start()
        return bool(claimed)

    async def adopted(self) -> None:
        """Wait until what was claimed is read."""
        await self._is_read.wait()

    def _taken(self, path: Path) -> JournalFile | None:
        try:
            return JournalFile.adopt(path)
        except (OSError, ValueError) as error:
            self._set_strange(path, error)
            return None

    def _set_strange(self, path: Path, error: Exception) -> None:
        """Leave a file alone for now; it is tried again, and told once."""
        if self._strange.get(path) != str(error):
            log("journal_strange", level=logging.ERROR, cause=str(error), file=path.name)
        self._strange[path] = str(error)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{SUFFIX}"))

    # Replaying, in another thread

    def next_file(self) -> JournalFile | None:
        """The file to replay next, the oldest first; None where nothing waits.

        If it is the one that is written, what is kept from now on goes into a new one.
        """
        with self._gate:
            if not self._sealed and self._active is not None:
                self._sealed.append(self._active)
                self._active = None
            return self._sealed[0] if self._sealed else None

    def forget(self, file: JournalFile) -> None:
        """Remove a file that is replayed."""
        with self._gate:
            self._sealed.remove(file)
        file.remove()

    def set_aside(self, body: bytes, cause: str) -> None:
        """Keep for people what the store will never take; durable when it returns."""
        log("decision_refused", level=logging.ERROR, cause=cause, n_bytes=len(body))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        with os.fdopen(os.open(self._folder / "refused.jsonl", flags, 0o600), "ab") as file:
            file.write(body + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._folder)

    # Reading what was claimed, in a thread of its own

    def _read(self, claimed: Sequence[JournalFile]) -> None:
        try:
            for file in claimed:
                try:
                    n_torn = file.take_stock()
                except OSError as error:
                    self._set_strange(file.path, error)
                    file.close()
                else:
                    self._hold(file)
                    self._strange.pop(file.path, None)
                    name, n_decisions = file.path.name, file.n_decisions
                    log("journal_adopted", file=name, n_decisions=n_decisions, n_bytes_torn=n_torn)
        finally:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._is_read.set)

    def _hold(self, file: JournalFile) -> None:
        with self._gate:
            if self._is_open:
                self._sealed.append(file)
            else:
                file.close()

    # Writing, in its own thread

    def _write_until_closed(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = next_batch(self._entries, _MAX_BATCH)
            if batch:
                self._announce(batch, self._append([one.record for one in batch]))

    def _append(self, records: Sequence[Record]) -> JournalError | None:
        try:
            with self._gate:
                if self._active is None:
                    self._active = self._create()
                self._active.append(records)
        except Exception as error:  # noqa: BLE001 -- the thread must outlive any fault of a disk
            return self._failed(error)
        if self.fault is not None:
            self.fault = None
            log("journal_writable", folder=str(self._folder))
        return None

    def _create(self) -> JournalFile:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return JournalFile.create(self._folder)

    def _failed(self, error: Exception) -> JournalError:
        fault = f"the journal {self._folder} cannot be written: {error}"
        if self.fault is None:
            log("journal_unwritable", level=logging.ERROR, cause=fault)
        self.fault = fault
        return JournalError(fault)

    def _announce(self, batch: list[_Entry], error: JournalError | None) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._resolve, batch, error)

    def _resolve(self, batch: list[_Entry], error: JournalError | None) -> None:
        self._n_begun -= len(batch)
        for (write, _), future in batch:
            if write.answer is not None:
                self._begun.pop(write.answer.request_id, None)
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
                future.exception()  # who asked may have gone


def same_request(earlier: Answer, digest: bytes) -> Answer:
    """An answer given earlier; ConflictError where the request_id was another request's."""
    if earlier.request_digest != digest:
        raise ConflictError(
            f"request_id {earlier.request_id!r} was used before with another content; choose a new one"
        )
    return earlier


def make_folder(folder: Path) -> None:
    """Make the journal's folder, and try whether a file can be written there.

    Raises:
        ConfigError: It cannot; decisions would be lost while the database is away.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        JournalFile.create(folder).remove()
    except OSError as error:
        raise ConfigError(
            f"the folder of the journal, {folder}, cannot be written ({error.strerror}): let the service's"
            " user write it, or name another with RECSYS_JOURNAL_DIR"
        ) from error
