"""The journal's files: what was acknowledged survives a kill, what was not is dropped.

A file begins with `MAGIC`; then come records, each of a header (length and CRC-32 of its body, 32 bits each,
little-endian) and a body of JSON. A record counts once its file was synced. A kill in the middle of a record
leaves a tail that length or checksum gives away: nobody was told that it was kept. An open file is locked, so
one that can be locked belongs to nobody alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import struct
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

import orjson

from serving.orders import Assignment
from serving.ports import Answer, LogDecisions, LoggedDecision

MAGIC = b"recsys-journal-1\n"
SUFFIX = ".journal"
_HEADER = struct.Struct("<II")
# No record comes near: a longer length is not one that was written.
_MAX_BODY_BYTES = 256 * 1024 * 1024
# Retries come within minutes; each takes some 200 bytes of memory.
_MAX_ANSWERS = 100_000
_JSON_FIELDS = ("items", "candidates", "request", "assignments")


class Record(NamedTuple):
    """A write, and the body of its record; see `record`."""

    write: LogDecisions
    body: bytes


class JournalFile:
    """One file, held open and locked.

    Attributes:
        path: Where it lies.
        n_bytes: Where what is durable ends.
        n_decisions: Decisions in it that are not passed over.
        answers: Where the record of each request_id begins, of the latest that there are.
    """

    def __init__(self, path: Path, descriptor: int, n_bytes: int) -> None:
        self.path = path
        self.n_bytes = n_bytes
        self.n_decisions = 0
        self.answers: dict[str, int] = {}
        self._descriptor = descriptor
        self._passed_to = len(MAGIC)
        self._gate = Lock()
        self._is_open = True

    @classmethod
    def create(cls, folder: Path) -> JournalFile:
        """A new file of one's own; OSError where it cannot be written."""
        while True:
            path = folder / f"{os.getpid()}-{secrets.token_hex(6)}{SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                if _is_locked(descriptor):  # else somebody took it for an orphan between two lines
                    _write(descriptor, MAGIC, 0)
                    sync_folder(folder)
                    return cls(path, descriptor, len(MAGIC))
            except OSError:
                path.unlink(missing_ok=True)
                os.close(descriptor)
                raise
            os.close(descriptor)

    @classmethod
    def adopt(cls, path: Path) -> JournalFile | None:
        """A file that nobody holds; None where somebody does, or has replayed it.

        Raises:
            ValueError: It is none of ours, or of another version of this program.
            OSError: It cannot be opened.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            if _is_locked(descriptor):
                return cls(path, descriptor, _checked_size(path, descriptor))
        except (OSError, ValueError):
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def append(self, records: Sequence[Record]) -> None:
        """Write records and wait until they are durable, all or none.

        Raises:
            OSError: They could not be written; none of them counts.
        """
        framed = b"".join(_HEADER.pack(len(body), zlib.crc32(body)) + body for _, body in records)
        try:
            _write(self._descriptor, framed, self.n_bytes)
        except OSError:
            # What is half written must not count after a crash; the next append begins here in any case.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.n_bytes)
            raise
        for write, body in records:
            self._note(write, len(body))

    def take_stock(self) -> int:
        """Find out what a file of a dead process holds.

        Returns:
            The bytes at its end that are no record.

        Raises:
            OSError: It cannot be read.
        """
        n_bytes, self.n_bytes = self.n_bytes, min(self.n_bytes, len(MAGIC))
        with self.path.open("rb") as file:
            file.seek(self.n_bytes)
            while (body := _next_body(file)) is not None:
                try:
                    self._note(decode(body), len(body))
                except ValueError:
                    self.n_bytes += _HEADER.size + len(body)  # told when it is replayed
        return n_bytes - self.n_bytes

    def _note(self, write: LogDecisions, n_bytes: int) -> None:
        """Count a record that is durable now, and remember where its answer lies; the first one stays."""
        if write.answer is not None:
            self.answers.setdefault(write.answer.request_id, self.n_bytes)
            if len(self.answers) > _MAX_ANSWERS:
                del self.answers[next(iter(self.answers))]
        self.n_decisions += len(write.decisions)
        self.n_bytes += _HEADER.size + n_bytes

    def answer(self, request_id: str) -> Answer | None:
        """The answer kept under a request_id; None where there is none, or the file was removed meanwhile."""
        offset = self.answers.get(request_id)
        with self._gate:
            if offset is None or not self._is_open:
                return None
            n_bytes, _ = _HEADER.unpack(os.pread(self._descriptor, _HEADER.size, offset))
            body = os.pread(self._descriptor, n_bytes, offset + _HEADER.size)
        return decode(body).answer

    def next_bodies(self, at_most: int) -> list[bytes]:
        """The next records that are not passed over, in the order in which they were written."""
        bodies: list[bytes] = []
        at = self._passed_to
        with self.path.open("rb") as file:
            file.seek(at)
            while len(bodies) < at_most and at < self.n_bytes and (body := _next_body(file)) is not None:
                bodies.append(body)
                at += _HEADER.size + len(body)
        return bodies

    def pass_over(self, bodies: Sequence[bytes], n_decisions: int) -> None:
        """Go on after the next records: they, and so many decisions, are stored elsewhere."""
        self._passed_to += sum(_HEADER.size + len(body) for body in bodies)
        self.n_decisions -= n_decisions

    def remove(self) -> None:
        """Remove the file: everything in it is stored elsewhere."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the file; whoever comes next may adopt it."""
        with self._gate:
            if self._is_open:
                self._is_open = False
                os.close(self._descriptor)


def record(write: LogDecisions) -> Record:
    """A write as a record; ValueError where it holds what cannot be written down."""
    try:
        return Record(write, encode(write))
    except TypeError as error:  # that is what orjson calls a text that is no Unicode
        raise ValueError(f"decisions cannot be written down: {error}") from error


def encode(write: LogDecisions) -> bytes:
    """A write as the body of a record."""
    answer = write.answer
    return orjson.dumps(
        {
            "decisions": [_plain(one, LoggedDecision) for one in write.decisions],
            "answer": None if answer is None else _plain(answer, Answer),
            "assignments": [_plain(one, Assignment) for one in write.assignments],
        }
    )


def decode(body: bytes) -> LogDecisions:
    """The opposite of `encode`; what was stored before is kept where it is replayed.

    Raises:
        ValueError: This program cannot read it.
    """
    told = orjson.loads(body)
    try:
        return LogDecisions(
            tuple(_decision(one) for one in told["decisions"]),
            None if told["answer"] is None else _answer(told["answer"]),
            tuple(_assignment(one) for one in told["assignments"]),
            is_replayed=True,
        )
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"no record of this version: {error!r}") from error


def _plain(one: object, kind: type) -> dict[str, Any]:
    values = {name: getattr(one, name) for name in kind.__annotations__}
    if "request_digest" in values:
        values["request_digest"] = values["request_digest"].hex()
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def _decision(told: Mapping[str, Any]) -> LoggedDecision:
    texts = {name: told[name].encode() for name in _JSON_FIELDS}
    return LoggedDecision(**{**told, **texts, "occurred_at": datetime.fromisoformat(told["occurred_at"])})


def _answer(told: Mapping[str, Any]) -> Answer:
    return Answer(
        told["request_id"],
        bytes.fromhex(told["request_digest"]),
        told["body"].encode(),
        datetime.fromisoformat(told["answered_at"]),
    )


def _assignment(told: Mapping[str, Any]) -> Assignment:
    triggered_at = told["triggered_at"]
    return Assignment(
        **{
            **told,
            "assigned_at": datetime.fromisoformat(told["assigned_at"]),
            "triggered_at": None if triggered_at is None else datetime.fromisoformat(triggered_at),
        }
    )


def _next_body(file: BinaryIO) -> bytes | None:
    """The next record's body; None where there is no whole one."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    n_bytes, checksum = _HEADER.unpack(header)
    # A file that grew but was not filled before a power cut reads as zeros.
    if not 0 < n_bytes <= _MAX_BODY_BYTES:
        return None
    body = file.read(n_bytes)
    return body if len(body) == n_bytes and zlib.crc32(body) == checksum else None


def _is_locked(descriptor: int) -> bool:
    """Lock a file; False where another one holds it, or it was removed before it could be locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def _checked_size(path: Path, descriptor: int) -> int:
    """Bytes of a file of ours; ValueError where it is none."""
    n_bytes = os.fstat(descriptor).st_size
    if os.pread(descriptor, len(MAGIC), 0) not in (MAGIC, MAGIC[:n_bytes]):
        raise ValueError(f"{path} is no journal of this program")
    return n_bytes


def _write(descriptor: int, content: bytes, at: int) -> None:
    left = memoryview(content)
    while left:
        n_written = os.pwrite(descriptor, left, at)
        left, at = left[n_written:], at + n_written
    os.fdatasync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make durable which files a folder has."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
