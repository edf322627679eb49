"""What waits in a queue, taken together."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import TypeVar

Entry = TypeVar("Entry")


def next_batch(entries: SimpleQueue[Entry | None], at_most: int) -> tuple[list[Entry], bool]:
    """Wait for one entry, then take what is there.

    Args:
        entries: The queue; None in it closes it.
        at_most: Entries of one batch, ≥1.

    Returns:
        The entries, and whether the queue is open.

    Example:
        >>> entries: SimpleQueue[int | None] = SimpleQueue()
        >>> for entry in (1, 2, 3, None):
        ...     entries.put(entry)
        >>> next_batch(entries, 2), next_batch(entries, 2)
        (([1, 2], True), ([3], False))
    """
    batch: list[Entry] = []
    entry = entries.get()
    try:
        while entry is not None:
            batch.append(entry)
            if len(batch) == at_most:
                return batch, True
            entry = entries.get_nowait()
    except Empty:
        return batch, True
    return batch, False
