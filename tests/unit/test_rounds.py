"""Rounds: who asks together is answered together, and nobody pays for another's question."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from recsys.errors import StoreUnavailableError
from serving.services.rounds import Rounds


class Clerk:
    """Answers with the square; notes its rounds."""

    def __init__(self, *, fails_on: int | None = None, seconds: float = 0.0) -> None:
        self.rounds: list[list[int]] = []
        self.seconds = seconds
        self._fails_on = fails_on

    async def answer(self, questions: Sequence[int]) -> list[int | Exception]:
        """The squares; a question below 0 has none."""
        self.rounds.append(list(questions))
        if self._fails_on in questions:
            raise RuntimeError("the clerk fell over")
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return [one * one if one >= 0 else ValueError(f"{one} is below 0") for one in questions]


def ask(clerk: Clerk, questions: Sequence[int], at_most: int = 16) -> list[int | BaseException]:
    async def run() -> list[int | BaseException]:
        rounds: Rounds[int, int] = Rounds(at_most)
        asked = [rounds.ask(one, clerk.answer) for one in questions]
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(run())


def test_what_is_asked_in_one_turn_is_one_round_in_its_order() -> None:
    clerk = Clerk()
    assert ask(clerk, [3, 1, 2]) == [9, 1, 4]
    assert clerk.rounds == [[3, 1, 2]]


def test_a_round_has_a_longest_length() -> None:
    clerk = Clerk()
    assert ask(clerk, range(5), at_most=2) == [0, 1, 4, 9, 16]
    assert clerk.rounds == [[0, 1], [2, 3], [4]]


async def ask_later(rounds: Rounds[int, int], clerk: Clerk, question: int, *, seconds: float = 0.0) -> int:
    for _ in range(5):
        await asyncio.sleep(seconds / 5)
    return await rounds.ask(question, clerk.answer)


def test_a_round_waits_for_company_unless_it_is_the_first_or_full() -> None:
    clerk = Clerk()

    async def run() -> list[int]:
        rounds: Rounds[int, int] = Rounds(at_most=3, seconds_apart=(0.02, 0.02))
        first = await rounds.ask(1, clerk.answer)
        second = await asyncio.gather(rounds.ask(2, clerk.answer), ask_later(rounds, clerk, 3))
        full = await asyncio.gather(*[rounds.ask(one, clerk.answer) for one in (4, 5, 6)])
        return [first, *second, *full]

    assert asyncio.run(run()) == [1, 4, 9, 16, 25, 36]
    assert clerk.rounds == [[1], [2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("seconds_of_round", "rounds_of_two"), [(0.0, [[2], [3]]), (0.4, [[2, 3]])], ids=["quick", "slow"]
)
def test_after_a_slow_round_the_next_one_waits_longer(
    seconds_of_round: float, rounds_of_two: list[list[int]]
) -> None:
    clerk = Clerk(seconds=seconds_of_round)

    async def run() -> None:
        rounds: Rounds[int, int] = Rounds(seconds_apart=(0.0, 10.0), share=0.5)
        await rounds.ask(1, clerk.answer)
        clerk.seconds = 0.0
        await asyncio.gather(rounds.ask(2, clerk.answer), ask_later(rounds, clerk, 3, seconds=0.05))

    asyncio.run(run())
    assert clerk.rounds == [[1], *rounds_of_two]


def test_an_error_is_the_answer_to_one_question_alone() -> None:
    first, wrong, last = ask(Clerk(), [3, -1, 2])
    assert (first, last) == (9, 4)
    assert isinstance(wrong, ValueError)


def test_a_round_that_fails_is_answered_one_by_one() -> None:
    clerk = Clerk(fails_on=1)
    first, failed, last = ask(clerk, [3, 1, 2])
    assert (first, last) == (9, 4)
    assert isinstance(failed, RuntimeError)
    assert clerk.rounds == [[3, 1, 2], [3], [1], [2]]


def test_a_store_that_is_away_is_not_asked_again_for_each_question() -> None:
    rounds: list[int] = []

    async def fail(questions: Sequence[int]) -> list[int | Exception]:
        rounds.append(len(questions))
        raise StoreUnavailableError("the database is away")

    async def run() -> list[int | BaseException]:
        desk: Rounds[int, int] = Rounds()
        return await asyncio.gather(*[desk.ask(one, fail) for one in range(3)], return_exceptions=True)

    assert all(isinstance(answer, StoreUnavailableError) for answer in asyncio.run(run()))
    assert rounds == [3]


def test_who_goes_away_is_not_missed() -> None:
    async def run() -> int:
        rounds: Rounds[int, int] = Rounds()
        clerk = Clerk()
        gone = asyncio.create_task(rounds.ask(2, clerk.answer))
        stays = asyncio.create_task(rounds.ask(3, clerk.answer))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await stays

    assert asyncio.run(run()) == 9
