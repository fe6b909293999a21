"""Many streams behind one blocking read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.redis.arrivals import Arrivals
from bridge.redis.connection import Unanswered, WrongType, rejected
from tests.deadline import DEADLINE_S, until

LONG_MS = 3_600_000


class Streams:
    """Streams by name; `reads` are what was waited for, `blocked` how many reads wait now."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Any]] = {}
        self.reads: list[set[str]] = []
        self.blocked = 0
        self.damaged: set[str] = set()
        self._added = asyncio.Event()
        self.arrivals = Arrivals(self._read, self._look)

    def add(self, stream: str, *numbers: int) -> None:
        entries = self.entries.setdefault(stream, [])
        entries += [[b"%d-0" % n, [b"event", b"%d" % n]] for n in numbers]
        self._added.set()
        self._added = asyncio.Event()

    async def after(self, stream: str, position: str, wait_ms: int = LONG_MS) -> list[int]:
        async with asyncio.timeout(DEADLINE_S):
            found = await self.arrivals.after("p:", stream, position, 500, wait_ms)
        return [int(fields[1]) for _, fields in found]

    async def _read(self, after: dict[str, str], count: int, block_ms: int) -> dict[str, Any]:
        self.reads.append(set(after))
        if broken := self.damaged & set(after):
            raise rejected(f"WRONGTYPE Operation against {broken}")
        self.blocked += 1
        try:
            async with asyncio.timeout(block_ms / 1000):
                while not (found := self._found(after)):
                    await self._added.wait()
                return found
        except TimeoutError:
            return {}
        finally:
            self.blocked -= 1

    def _found(self, after: dict[str, str]) -> dict[str, Any]:
        return {
            stream: new
            for stream, position in after.items()
            if (new := [e for e in self.entries.get(stream, []) if _n(e[0]) > _n(position)])
        }

    async def _look(self, prefix: str, stream: str) -> None:
        if stream in self.damaged:
            raise WrongType(stream, "string", "stream")


def _n(position: str | bytes) -> int:
    return int(position[:-2])


def test_many_wait_in_one_read_and_each_gets_its_own() -> None:
    async def test() -> None:
        streams = Streams()
        waiting = [asyncio.create_task(streams.after(f"s{n}", "0-0")) for n in range(100)]
        await until(lambda: streams.blocked == 1)
        assert streams.reads == [{f"s{n}" for n in range(100)}]
        streams.add("s7", 1, 2)
        assert await waiting[7] == [1, 2]
        await until(lambda: streams.blocked == 1)
        streams.add("s7", 3)  # before somebody comes for it
        assert await streams.after("s7", "2-0") == [3]
        streams.add("s8", 1)
        assert await waiting[8] == [1]
        await streams.arrivals.close(Unanswered("closed"))
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert sum(isinstance(result, Unanswered) for result in results) == 98

    asyncio.run(test())


def test_one_that_comes_later_waits_for_nobody_else_and_is_taken_into_the_one_read() -> None:
    async def test() -> None:
        streams = Streams()
        first = asyncio.create_task(streams.after("a", "0-0"))
        await until(lambda: streams.blocked == 1)
        second = asyncio.create_task(streams.after("b", "0-0"))
        await until(lambda: streams.blocked == 2)
        await until(lambda: streams.reads[-1] == {"a", "b"} and streams.blocked == 1)
        streams.add("b", 1)
        assert await second == [1]
        streams.add("a", 1)
        assert await first == [1]
        await streams.arrivals.close(Unanswered("closed"))

    asyncio.run(test())


def test_who_waited_long_enough_gets_nothing_and_what_nobody_comes_for_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.redis.arrivals.KEPT_S", 0.0)
    monkeypatch.setattr("bridge.redis.arrivals.ROUND_S", 0.01)

    async def test() -> None:
        streams = Streams()
        assert await streams.after("a", "0-0", 1) == []
        await until(lambda: streams.blocked == 0)
        await streams.arrivals.close(Unanswered("closed"))

    asyncio.run(test())


def test_a_stream_of_another_type_fails_for_who_waits_for_it_alone() -> None:
    async def test() -> None:
        streams = Streams()
        streams.damaged = {"broken"}
        sound = asyncio.create_task(streams.after("sound", "0-0"))
        with pytest.raises(WrongType):
            await streams.after("broken", "0-0")
        streams.add("sound", 1)
        assert await sound == [1]
        await streams.arrivals.close(Unanswered("closed"))

    asyncio.run(test())
