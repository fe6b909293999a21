"""Portions of much work, each with turns of the loop for everybody else behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bridge.turns import EVERY, Turns
from tests.deadline import DEADLINE_S, until


def counted(log: list[str], name: str, times: int) -> Callable[[], bool]:
    left = times

    def portion() -> bool:
        nonlocal left
        left -= 1
        log.append(name)
        return left > 0

    return portion


def test_each_has_a_portion_in_rotation() -> None:
    async def main() -> None:
        turns, log = Turns(), list[str]()
        for name, times in (("a", 3), ("b", 1), ("c", 2)):
            turns.add(counted(log, name, times))
        await until(lambda: len(log) == 6)
        assert "".join(log) == "abcaca"

    asyncio.run(main())


def test_between_two_portions_a_message_has_the_turns_it_needs() -> None:
    async def main() -> None:
        turns, log = Turns(), list[str]()
        for name in "ab":
            turns.add(counted(log, name, 3))
        for n in range(6 * EVERY):
            await asyncio.sleep(0)
            assert len(log) == n // EVERY + 1

    asyncio.run(main())


def test_a_coroutine_waits_for_its_turn() -> None:
    async def main() -> None:
        turns, log = Turns(), list[str]()
        turns.add(counted(log, "a", 2))

        async def work() -> None:
            for _ in range(2):
                await turns.next()
                log.append("w")

        async with asyncio.timeout(DEADLINE_S):
            await work()
        assert log == ["a", "w", "a", "w"] or log == ["a", "a", "w", "w"]

    asyncio.run(main())


def test_a_turn_that_nobody_waits_for_any_more_is_passed_on() -> None:
    async def main() -> None:
        turns, log = Turns(), list[str]()
        waiting = asyncio.create_task(turns.next())
        await asyncio.sleep(0)
        waiting.cancel()
        turns.add(counted(log, "a", 1))
        await until(lambda: log)
        assert waiting.cancelled()

    asyncio.run(main())


def test_a_defect_of_one_leaves_the_rotation_to_the_others() -> None:
    async def main() -> None:
        seen: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(context["exception"]))
        turns, log = Turns(), list[str]()

        def defect() -> bool:
            raise ZeroDivisionError

        turns.add(defect)
        turns.add(counted(log, "a", 2))
        await until(lambda: len(log) == 2)
        assert [type(error) for error in seen] == [ZeroDivisionError]

    asyncio.run(main())


@pytest.mark.parametrize("times", [1, 5])
def test_a_rotation_that_is_empty_again_costs_nothing(times: int) -> None:
    async def main() -> None:
        turns, log = Turns(), list[str]()
        for _ in range(2):
            turns.add(counted(log, "a", times))
            await until(lambda: not turns._waiting)
        assert len(log) == 2 * times

    asyncio.run(main())
