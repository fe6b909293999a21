"""A process that was held up reads what arrived before it calls anybody late."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from bridge.patience import Due, Timeout, due_in, sleep, timeout
from tests.deadline import DEADLINE_S, held_up

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
LOOP = pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]


async def arrived() -> bytes:
    """Return what the other end had sent while this one was held up."""
    one, other = socket.socketpair()
    one.setblocking(False)
    loop = asyncio.get_running_loop()
    reading = asyncio.ensure_future(loop.sock_recv(one, 100))
    await asyncio.sleep(0)
    other.send(b"in time")
    loop.call_soon(held_up, 0.06)
    try:
        return await reading
    finally:
        one.close()
        other.close()


@LOOP
def test_what_arrived_while_the_process_was_held_up_is_in_time(loop: Loop) -> None:
    async def main() -> None:
        async with timeout(0.02):
            assert await arrived() == b"in time"

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@LOOP
def test_what_does_not_arrive_is_late(loop: Loop) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with timeout(0.02):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            async with Timeout(0):  # over already
                await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@LOOP
def test_a_block_that_ends_in_time_or_has_no_limit_is_not_cut(loop: Loop) -> None:
    async def main() -> None:
        async with timeout(DEADLINE_S):
            pass
        async with Timeout(None):
            await asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError):
            async with timeout(DEADLINE_S):
                raise ZeroDivisionError

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@LOOP
def test_a_timer_calls_back_once_and_not_when_cancelled(loop: Loop) -> None:
    async def main() -> None:
        called: list[str] = []
        now = asyncio.get_running_loop().time()
        due_in(0.01, lambda: called.append("a"))
        Due(now + 0.01, lambda: called.append("b")).cancel()
        await sleep(0.05)
        assert called == ["a"]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@LOOP
def test_a_wait_ends_after_what_arrived_was_read(loop: Loop) -> None:
    async def main() -> None:
        read: list[bytes] = []

        async def reader() -> None:
            read.append(await arrived())

        reading = asyncio.ensure_future(reader())
        await sleep(0.02)
        assert read == [b"in time"]
        await reading

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
