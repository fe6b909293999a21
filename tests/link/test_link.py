"""Links on asyncio: calls both ways, deadlines, health, full queues, the end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from bridge.link import link as module
from bridge.link.errors import LinkBusy, LinkClosed, LinkFault, LinkTimeout
from bridge.link.framing import FrameWriter
from bridge.link.link import Link
from bridge.link.messages import Call, encode_message
from bridge.link.session import SessionLimits
from bridge.link.terms import Atom
from bridge.link.transports.descriptors import Descriptors
from bridge.link.transports.memory import Memory, pair
from tests.deadline import DEADLINE_S, held_up, until

HOUR = 3_600_000


async def echo(args: list[Any]) -> Any:
    return args[0]


def plain(args: list[Any]) -> Any:
    return args


async def fail(args: list[Any]) -> Any:
    raise ValueError(args[0])


async def never(args: list[Any]) -> Any:
    await asyncio.Event().wait()


FUNCTIONS = {"echo": echo, "plain": plain, "fail": fail, "never": never}
Test = Callable[[Link, Link, Memory, Memory], Awaitable[None]]


def run(test: Test, limits: SessionLimits | None = None) -> None:
    """Run a test between two started links that both know FUNCTIONS."""

    async def main() -> None:
        one, other = pair()
        link, peer = Link(one, limits), Link(other, limits)
        for end in (link, peer):
            end.register(FUNCTIONS)
            end.start()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await test(link, peer, one, other)
        finally:
            link.close("the test ends")
            peer.close("the test ends")

    asyncio.run(main())


def test_both_sides_call_at_the_same_time() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        calls = [end.call("echo", [n], HOUR) for n in range(200) for end in (link, peer)]
        assert await asyncio.gather(*calls) == [n for n in range(200) for _ in range(2)]
        assert await link.call("plain", [1, "two"], HOUR) == [1, "two"]
        assert link.in_flight == link.queued_bytes == 0

    run(test)


def test_a_slow_function_holds_nobody() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        slow = asyncio.create_task(link.call("never", [], HOUR))
        assert await link.call("echo", ["at once"], HOUR) == "at once"
        assert not slow.done()
        slow.cancel()

    run(test)


def test_a_function_may_call_back() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        async def back(args: list[Any]) -> Any:
            return [await peer.call("echo", args, HOUR)]

        peer.register({"back": back})
        assert await link.call("back", ["deep"], HOUR) == ["deep"]

    run(test)


def test_a_failure_carries_its_class_and_text() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        with pytest.raises(LinkFault) as caught:
            await link.call("fail", ["it broke"], HOUR)
        fault = caught.value
        assert (fault.language, fault.kind, fault.value) == (
            "python",
            "crashed",
            "ValueError: it broke",
        )
        with pytest.raises(LinkFault, match="unknown_function"):
            await link.call("nothing", [], HOUR)
        assert await link.call("echo", [1], HOUR) == 1

    run(test)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (asyncio.CancelledError(), "CancelledError"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (StopAsyncIteration(), "StopAsyncIteration"),
        (Unspeakable(), "Unspeakable: its text cannot be had"),
        (ValueError("\ud83d"), "ValueError: �"),
        (ValueError("x" * 10_000), "ValueError: " + "x" * 488),
    ],
)
def test_however_a_function_ends_its_caller_is_answered_and_its_slot_given_back(
    end: BaseException, text: str
) -> None:
    async def at_once(args: list[Any]) -> Any:
        raise end

    async def later(args: list[Any]) -> Any:
        await asyncio.sleep(0)
        raise end

    def plainly(args: list[Any]) -> Any:
        raise end

    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        peer.register({"at_once": at_once, "later": later, "plainly": plainly})
        for _ in range(3):  # more often than there are slots
            for name in ("at_once", "later", "plainly"):
                with pytest.raises(LinkFault) as caught:
                    await link.call(name, [], HOUR)
                assert (caught.value.kind, caught.value.value) == ("crashed", text)
        assert peer._session.running == 0
        assert await link.call("echo", [1], HOUR) == 1

    run(test, SessionLimits(max_in_flight=2))


@pytest.mark.parametrize(
    "value", [object(), {1: 2}, {"a": {1}}, float("nan"), 2**60, "\ud83d", (1,), b"x"]
)
def test_whatever_a_function_returns_its_caller_is_answered_and_its_slot_given_back(
    value: Any,
) -> None:
    deep: list[Any] = []
    deep.append(deep)

    async def odd(args: list[Any]) -> Any:
        return deep if args else value

    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        peer.register({"odd": odd})
        for args in ([], [1]) * 3:
            with pytest.raises(LinkFault, match="bad_value"):
                await link.call("odd", list(args), HOUR)
        assert peer._session.running == 0

    run(test, SessionLimits(max_in_flight=2))


def test_a_message_whose_handler_ends_oddly_is_counted_and_the_next_one_heard() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        heard: list[Any] = []

        def hear(message: Any) -> None:
            heard.append(message)
            if message == "exit":
                raise SystemExit

        peer._on_cast = hear
        link.cast("exit")
        link.cast("more")
        await until(lambda: heard == ["exit", "more"])
        assert peer.counters.failed_casts == 1

    run(test)


def test_a_call_ends_at_its_deadline_though_the_peer_does_not_read() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        other.reads = False
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(LinkTimeout, match="echo: no answer within 50 ms"):
            await link.call("echo", [1], 50)
        assert 0.045 <= loop.time() - began < DEADLINE_S / 2
        other.reads = True
        assert await link.call("echo", [2], HOUR) == 2
        assert link.counters.late_answers == 1

    run(test)


def test_a_shorter_deadline_ends_first() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        long = asyncio.create_task(link.call("never", [], HOUR))
        with pytest.raises(LinkTimeout):
            await link.call("never", [], 20)
        assert not long.done()
        long.cancel()

    run(test)


def test_a_cancelled_call_leaves_no_trace_but_a_late_answer() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        other.reads = False
        task = asyncio.create_task(link.call("echo", [1], HOUR))
        await until(lambda: link.in_flight == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert link.in_flight == 0
        other.reads = True
        await until(lambda: link.counters.late_answers == 1)

    run(test)


def test_a_full_queue_refuses_at_once_and_recovers() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        other.reads = False
        calls = []
        while link.queued_bytes <= 100_000:
            calls.append(asyncio.create_task(link.call("echo", ["x" * 10_000], HOUR)))
            await asyncio.sleep(0)
        with pytest.raises(LinkBusy, match="unsent bytes"):
            await link.call("echo", [1], HOUR)
        assert link.queued_bytes < 120_000
        other.reads = True
        assert await asyncio.gather(*calls) == ["x" * 10_000] * len(calls)
        assert await link.call("echo", [1], HOUR) == 1

    run(test, SessionLimits(max_queued_bytes=100_000))


def test_what_was_queued_behind_a_blocked_write_leaves_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PING_MS", HOUR)  # a ping would take it along

    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        heard: list[Any] = []
        peer._on_cast = heard.append
        other.reads = False
        link.cast("blocked")
        await asyncio.sleep(0)
        link.cast("behind")
        await asyncio.sleep(0)
        other.reads = True
        await until(lambda: heard == ["blocked", "behind"])

    run(test)


def test_too_many_calls_in_flight_are_refused() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        tasks = [asyncio.create_task(link.call("never", [], HOUR)) for _ in range(3)]
        await until(lambda: link.in_flight == 3)
        with pytest.raises(LinkBusy, match="3 unanswered calls on the link, limit is 3"):
            await link.call("echo", [1], HOUR)
        for task in tasks:
            task.cancel()

    run(test, SessionLimits(max_in_flight=3))


def test_frames_of_one_turn_leave_in_one_write() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        writes: list[int] = []
        write = one.write

        def counted(data: bytes) -> bool:
            writes.append(len(data))
            return write(data)

        one.write = counted  # type: ignore[method-assign] # to look at what passes
        await asyncio.gather(*(link.call("echo", [n], HOUR) for n in range(50)))
        assert len(writes) == 1

    run(test)


def test_the_end_of_the_peer_ends_every_call() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        tasks = [asyncio.create_task(link.call("never", [], HOUR)) for _ in range(3)]
        await until(lambda: link.in_flight == 3)
        peer.close("going")
        await link.closed.wait()
        for task in tasks:
            with pytest.raises(LinkClosed, match="end of file"):
                await task
        assert (link.alive, link.close_reason) == (False, "end of file")
        with pytest.raises(LinkClosed, match="end of file"):
            await link.call("echo", [1], HOUR)
        with pytest.raises(LinkClosed, match="end of file"):
            link.cast("x")

    run(test)


def test_what_was_queued_leaves_before_the_link_closes() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        heard: list[Any] = []
        peer._on_cast = heard.append
        link.cast(Atom("superseded"))
        link.close("superseded by a newer node")
        await peer.closed.wait()
        assert heard == [Atom("superseded")]

    run(test)


def test_drain_waits_until_everything_has_left() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        await link.drain()
        other.reads = False
        call = asyncio.create_task(link.call("echo", [1], HOUR))
        await until(lambda: link.in_flight == 1)
        draining = asyncio.create_task(link.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        other.reads = True
        await draining
        assert link.queued_bytes == 0
        assert await call == 1

    run(test)


def test_garbage_closes_the_link_with_the_reason() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        call = asyncio.create_task(link.call("never", [], HOUR))
        await until(lambda: link.in_flight == 1)
        other.write(b"Traceback (most recent call last):\n")
        with pytest.raises(LinkClosed, match="bad_frame: expected a frame of at most"):
            await call

    run(test)


def test_a_peer_without_pongs_is_stalled_until_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PING_MS", 10)

    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        await link.call("echo", [1], HOUR)
        assert not link.stalled
        other.reads = False
        await until(lambda: link.stalled)
        assert link.alive
        assert link.in_flight == 1  # the one ping; they do not pile up
        other.reads = True
        await until(lambda: not link.stalled)

    run(test)


def test_a_peer_is_asked_each_second_and_stalled_after_three() -> None:
    assert (module.PING_MS, module.STALLED_PINGS) == (1000, 3)


def test_the_hello_of_the_peer_is_kept_and_opens_the_link() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        async def hello(args: list[Any]) -> Any:
            return {"worker": "w1"}

        peer.register({"hello": hello})
        with pytest.raises(LinkFault, match="no_hello"):
            await link.call("echo", [1], HOUR)
        with pytest.raises(LinkClosed, match="has not said hello"):
            await peer.call("echo", [1], HOUR)
        assert peer.hello is None
        assert await link.call("hello", [{"node": "n1"}], HOUR) == {"worker": "w1"}
        assert peer.hello == {"node": "n1"}
        assert await link.call("echo", [1], HOUR) == 1
        assert await peer.call("echo", [1], HOUR) == 1

    run(test)


def test_a_peers_frames_are_handled_a_bounded_number_in_each_turn() -> None:
    async def test(link: Link, peer: Link, one: Memory, other: Memory) -> None:
        in_turn: list[int] = []

        def count(args: list[Any]) -> Any:
            in_turn[-1] += 1
            return len(in_turn)

        async def turns() -> None:
            while True:
                in_turn.append(0)
                await asyncio.sleep(0)

        peer.register({"count": count})
        turning = asyncio.create_task(turns())
        calls = [link.call("count", [], HOUR) for _ in range(500)]
        answers = await asyncio.gather(*calls)
        turning.cancel()
        assert answers == sorted(answers)
        assert max(in_turn) == module.TURN_FRAMES

    run(test)


def test_a_flood_that_is_answered_by_the_link_itself_is_bounded_too() -> None:
    async def main() -> None:
        one, other = pair()
        link = Link(one)
        link.start()
        writer = FrameWriter(1000)
        ping = writer.frame(encode_message(Call(1, "bridge", "ping", [], "N")))
        other.start(Deaf())
        other.write(ping * 500)
        turns = 0
        async with asyncio.timeout(DEADLINE_S):
            while link._session.more or not turns:
                await asyncio.sleep(0)
                turns += 1
        assert turns >= 500 // module.TURN_FRAMES
        link.close("the test ends")

    asyncio.run(main())


def test_an_answer_that_arrived_while_this_process_was_held_up_is_in_time() -> None:
    """Over real descriptors and on uvloop, whose timers run before what it reads."""

    async def main() -> None:
        ends = [Descriptors.of_socket(end) for end in socket.socketpair()]
        link, peer = map(Link, ends)

        def slow(args: list[Any]) -> Any:
            held_up(0.06)
            return "in time"

        peer.register({"slow": slow})
        for end in (link, peer):
            end.start()
        async with asyncio.timeout(DEADLINE_S):
            assert await link.call("slow", [], timeout_ms=20) == "in time"
        for end in (link, peer):
            end.close("the test ends")

    uvloop.run(main())


class Deaf:
    def received(self, data: bytes) -> None: ...

    def written(self) -> None: ...

    def lost(self, reason: str) -> None: ...
