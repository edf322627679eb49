"""Bring what waits in the journal into the store, exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recsys.errors import RecsysError, StoreUnavailableError
from serving.ports import LogDecisions, Write, WriteResult
from serving.services.journal import Journal
from serving.services.journal_files import decode

# So many take some hundredths of a second: other writes come between.
_MAX_BATCH = 256

Commit = Callable[[Sequence[Write]], Sequence[WriteResult | RecsysError]]
"""Does writes in one durable transaction; `serving.ports.Store.commit`."""


def replay(journal: Journal, commit: Commit) -> int | None:
    """Bring the next records that wait into the store.

    A file goes once everything in it is stored. Whoever is killed before that leaves it, and it is replayed
    again: what is stored is kept, and not stored twice. Only what the store refuses for good, and what this
    program cannot read, is set aside.

    Args:
        journal: Where decisions wait.
        commit: Does writes.

    Returns:
        How many decisions there were in them; None where nothing waits any more.

    Raises:
        Exception: Whatever `commit` raises; what is not stored yet waits on.
    """
    file = journal.next_file()
    if file is None:
        return None
    bodies = file.next_bodies(_MAX_BATCH)
    if not bodies:
        journal.forget(file)
        return 0
    n_decisions = _store(journal, commit, bodies)
    file.pass_over(bodies, n_decisions)
    return n_decisions


def _store(journal: Journal, commit: Commit, bodies: Sequence[bytes]) -> int:
    read: list[tuple[bytes, LogDecisions]] = []
    for body in bodies:
        try:
            read.append((body, decode(body)))
        except ValueError as error:
            journal.set_aside(body, repr(error))
    results = commit([write for _, write in read]) if read else ()
    for (body, _), result in zip(read, results, strict=True):
        if isinstance(result, StoreUnavailableError):
            raise result
        if isinstance(result, RecsysError):
            journal.set_aside(body, str(result))
    return sum(len(write.decisions) for _, write in read)
