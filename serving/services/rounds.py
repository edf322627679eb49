"""Rounds: requests that arrive together are answered together."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from recsys.errors import StoreUnavailableError

Question = TypeVar("Question")
Answer = TypeVar("Answer")
Work = Callable[[Sequence[Question]], Awaitable[Sequence[Answer | Exception]]]
"""Answers questions, in their order; an exception is the answer to one question alone."""


class Rounds(Generic[Question, Answer]):
    """Gathers what is asked until the event loop has read all that had arrived.

    A round begins with the first turn of the loop that brings no further question, but not too soon after
    the one before: a lone question waits for one empty turn, and under load rounds grow, since what a round
    costs grows slower than the number of its questions. The slower rounds are, the more time lies between
    them: a busy machine catches up by larger ones. A full round begins at once.

    Args:
        at_most: Questions of one round, ≥1; so long does nobody else get a turn.
        seconds_apart: Shortest and longest time from the beginning of a round to that of the next; what a
            question may wait for company.
        share: Of the time that rounds may take, in (0, 1].
    """

    def __init__(
        self, at_most: int = 16, seconds_apart: tuple[float, float] = (0.006, 0.02), share: float = 0.5
    ) -> None:
        self._at_most = at_most
        self._least_apart, self._most_apart = seconds_apart
        self._share = share
        self._due_at = -math.inf
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._n_seen = 0
        self._timer: asyncio.Handle | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, question: Question, work: Work[Question, Answer]) -> Answer:
        """The answer to a question.

        Args:
            question: The question.
            work: What answers the questions of a round; the same for all who ask here.

        Raises:
            Exception: Whatever `work` raises, or answers, to the question.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if len(self._waiting) in (1, self._at_most):
            self._set_timer(work)
        return await future

    def _set_timer(self, work: Work[Question, Answer]) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        is_full = len(self._waiting) >= self._at_most
        delay = 0.0 if is_full else max(0.0, self._due_at - loop.time())
        self._timer = loop.call_later(delay, self._gather, work)

    def _gather(self, work: Work[Question, Answer]) -> None:
        """Begin a round, or wait another turn while questions come in and there is room."""
        n_waiting = len(self._waiting)
        if self._n_seen < n_waiting < self._at_most:
            self._n_seen = n_waiting
            self._timer = asyncio.get_running_loop().call_soon(self._gather, work)
        else:
            self._n_seen = 0
            self._begin(work)

    def _begin(self, work: Work[Question, Answer]) -> None:
        begun_at = asyncio.get_running_loop().time()
        self._due_at = begun_at + self._least_apart
        asked, self._waiting = self._waiting[: self._at_most], self._waiting[self._at_most :]
        if self._waiting:
            self._set_timer(work)
        task = asyncio.create_task(self._answer(asked, work, begun_at))
        self._running.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._running.discard)

    async def _answer(
        self,
        asked: Sequence[tuple[Question, asyncio.Future[Answer]]],
        work: Work[Question, Answer],
        begun_at: float,
    ) -> None:
        answers = await _answers([one for one, _ in asked], work)
        taken = asyncio.get_running_loop().time() - begun_at
        apart = min(max(taken / self._share, self._least_apart), self._most_apart)
        self._due_at = max(self._due_at, begun_at + apart)
        for (_, future), answer in zip(asked, answers, strict=True):
            if future.done():  # who asked has gone
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)


async def _answers(
    questions: Sequence[Question], work: Work[Question, Answer]
) -> Sequence[Answer | Exception]:
    """The answers; where the whole round fails, each question is answered by itself."""
    try:
        return await work(questions)
    except StoreUnavailableError as error:
        return [error] * len(questions)  # no question is to blame, and none would fare better alone
    except Exception as error:  # noqa: BLE001 -- one question must not spoil the answers to the others
        if len(questions) == 1:
            return [error]
    alone = await asyncio.gather(*[_answers([one], work) for one in questions])
    return [answer for [answer] in alone]
