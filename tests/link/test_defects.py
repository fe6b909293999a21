"""What ErlPort 0.11 gets wrong, each shown right here."""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bridge.link.errors import BadValue, LinkBusy, LinkClosed, LinkFault, LinkTimeout
from bridge.link.framing import FrameWriter
from bridge.link.link import Link
from bridge.link.messages import Call, Cast, Result, decode_message, encode_message
from bridge.link.session import Session, SessionLimits, Settled
from bridge.link.term_reader import decode
from bridge.link.terms import Atom, Opaque, atom_bytes, encode
from bridge.link.transports.memory import Memory, pair
from tests.deadline import DEADLINE_S, until
from tests.link.port import program
from tests.link.vectors import decode_json

HOUR = 3_600_000
ERLANG, PYTHON = Atom("erlang"), Atom("python")


def frame(body: bytes) -> bytes:
    return FrameWriter(10_000_000).frame(body)


def linked(
    test: Callable[[Link, Memory], Awaitable[None]],
    functions: dict[str, Callable[[list[Any]], Any]] | None = None,
    on_cast: Callable[[Any], None] | None = None,
) -> None:
    """Run a test with a link and the raw end of its peer; the link has `functions`."""

    async def main() -> None:
        one, other = pair()
        link = Link(one, on_cast=on_cast)
        link.register(functions or {"echo": lambda args: args[0]})
        link.start()
        async with asyncio.timeout(DEADLINE_S):
            await test(link, other)
        link.close("the test ends")

    asyncio.run(main())


def test_1_nil_and_undefined_are_none_and_none_is_nil() -> None:
    for atom in (b"w\3nil", b"d\0\3nil", b"w\x09undefined", b"d\0\x09undefined"):
        value = decode_json(b"\x83" + atom)
        assert value is None
    assert encode(None) == b"\x83w\3nil"


def test_2_text_goes_out_as_a_utf8_binary() -> None:
    assert encode("ü") == b"\x83m\0\0\0\2\xc3\xbc"
    assert encode("") == b"\x83m\0\0\0\0"


@pytest.mark.parametrize("head", [b"w\3", b"v\0\3"])
def test_3_utf8_atoms_are_read(head: bytes) -> None:
    assert repr(decode(b"\x83" + head + "✓".encode())) == "Atom('✓')"


def test_4_a_cast_whose_handler_raises_stops_nothing() -> None:
    heard: list[Any] = []

    def hear(message: Any) -> None:
        heard.append(message)
        raise ValueError(message)

    async def test(link: Link, peer: Memory) -> None:
        for number in range(3):
            peer.write(frame(encode_message(Cast(number))))
        await until(lambda: link.counters.failed_casts == 3)
        assert (heard, link.alive) == ([0, 1, 2], True)

    linked(test, on_cast=hear)


def test_5_stray_output_of_any_kind_leaves_the_stream_alone() -> None:
    async def main() -> None:
        async with program(use_stdio=True) as started:
            assert await started.link.call("stray", [], HOUR) == "unharmed"
            assert await started.link.call("echo", ["still"], HOUR) == "still"

    asyncio.run(main())


def test_5_a_stray_byte_in_the_stream_ends_the_link_instead_of_hanging_it() -> None:
    async def test(link: Link, peer: Memory) -> None:
        call = asyncio.create_task(link.call("never", [], HOUR))
        await until(lambda: link.in_flight == 1)
        peer.write(b"\n" + frame(encode_message(Result(1, "answer"))))
        await link.closed.wait()
        assert link.close_reason.startswith("bad_frame: expected a frame of at most 4194304")
        with pytest.raises(LinkClosed):
            await call

    linked(test)


def test_6_a_stopped_peer_with_full_pipes_delays_no_deadline() -> None:
    async def main() -> None:
        async with program(True, SessionLimits(max_queued_bytes=200_000)) as started:
            link, loop = started.link, asyncio.get_running_loop()
            await link.call("echo", [1], HOUR)
            os.kill(started.process.pid, signal.SIGSTOP)
            value, calls = "x" * 1000, []
            while link.queued_bytes <= 200_000:
                calls.append(asyncio.create_task(link.call("echo", [value], HOUR)))
                await asyncio.sleep(0)
            with pytest.raises(LinkBusy):
                await link.call("echo", [value], 100)
            os.kill(started.process.pid, signal.SIGCONT)
            assert await asyncio.gather(*calls) == [value] * len(calls)
            os.kill(started.process.pid, signal.SIGSTOP)
            began = loop.time()
            with pytest.raises(LinkTimeout):
                await link.call("echo", [value], 100)
            assert loop.time() - began < DEADLINE_S / 4

    asyncio.run(main())


def test_7_late_and_unknown_answers_are_dropped() -> None:
    async def test(link: Link, peer: Memory) -> None:
        with pytest.raises(LinkTimeout):
            await link.call("never", [], 10)
        for id in (1, 1, 77):
            peer.write(frame(encode_message(Result(id, "too late"))))
        await until(lambda: link.counters.unknown_answers == 1)
        assert (link.counters.late_answers, link.in_flight, link.alive) == (2, 0, True)

    linked(test)


def test_8_a_list_of_20000_binaries_is_read_in_linear_time() -> None:
    small, large = (encode(["x" * 100] * size) for size in (1000, 20_000))

    def seconds(body: bytes) -> float:
        began = time.process_time()
        decode_json(body)
        return time.process_time() - began

    # ErlPort took 150 times as long and more.
    assert min(seconds(large) for _ in range(3)) < min(seconds(small) for _ in range(5)) * 20 * 6


def test_9_calls_run_at_the_same_time_and_may_nest() -> None:
    async def main() -> None:
        async with program(use_stdio=True) as started:
            link = started.link
            link.register({"echo": lambda args: args[0]})
            slow = asyncio.create_task(link.call("slow", [HOUR], HOUR))
            nested = [link.call("back", ["echo", [n]], HOUR) for n in range(20)]
            assert await asyncio.gather(*nested) == list(range(20))
            assert not slow.done()
            slow.cancel()

    asyncio.run(main())


class Bomb:
    """A pickle of it would leave a trace when loaded."""

    loaded = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (setattr, (Bomb, "loaded", True))


def test_10_pickles_are_neither_loaded_nor_sent() -> None:
    opaque = Opaque(PYTHON, pickle.dumps(Bomb()))
    assert decode(encode((Atom("hi"), opaque))) == (Atom("hi"), opaque)
    assert decode_message(encode_message(Cast(opaque))) == Cast(opaque)
    assert not Bomb.loaded
    with pytest.raises(BadValue, match="a JSON value, got Bomb"):
        encode(Bomb())


def test_11_names_of_exceptions_do_not_become_atoms() -> None:
    def fail(args: list[Any]) -> Any:
        raise type(f"Error{args[0]}", (Exception,), {})("text")

    async def main() -> None:
        one, other = pair()
        link, peer = Link(one), Link(other)
        peer.register({"fail": fail})
        link.start()
        peer.start()
        for number in range(3):
            with pytest.raises(LinkFault) as caught:
                await link.call("fail", [number], HOUR)
            assert caught.value.kind == "crashed"
            assert caught.value.value == f"Error{number}: text"
        link.close("the test ends")

    asyncio.run(main())


def test_11_atoms_of_the_peer_are_kept_by_nobody() -> None:
    mine = object()
    alone = sys.getrefcount(mine)  # 2, from Python 3.14 on 1
    for number in range(1000):
        atom = decode(b"\x83w\x08" + f"atom{number:04}".encode())
        assert sys.getrefcount(atom) == alone
        encode(atom)
    assert atom_bytes.cache_info().currsize <= 256


def test_12_any_callable_may_handle_casts_and_calls() -> None:
    class Handler:
        def __init__(self) -> None:
            self.heard: list[Any] = []

        def hear(self, message: Any, note: str = "") -> None:
            self.heard.append(message)

        async def double(self, args: list[Any], factor: int = 2) -> Any:
            return args[0] * factor

    handler = Handler()
    functions: dict[str, Callable[[list[Any]], Any]] = {
        "bound": handler.double,
        "partial": functools.partial(Handler.double, handler),
        "lambda": lambda args: args[0] * 2,
    }

    async def main() -> None:
        one, other = pair()
        link, peer = Link(one), Link(other, on_cast=handler.hear)
        peer.register(functions)
        link.start()
        peer.start()
        for name in functions:
            assert await link.call(name, [4], HOUR) == 8
        link.cast("message")
        await until(lambda: handler.heard == ["message"])
        link.close("the test ends")

    asyncio.run(main())


def test_13_a_call_costs_the_same_however_many_wait() -> None:
    def seconds(waiting: int) -> float:
        session = Session(SessionLimits(max_in_flight=10**6, max_queued_bytes=10**9))
        for _ in range(waiting):
            session.call("f", [], HOUR, "waits")
        session.take()
        began = time.process_time()
        for _ in range(1000):
            id = session.call("f", [], HOUR, "quick")
            assert list(session.receive(frame(encode_message(Result(id, 1))))) == [
                Settled("quick", 1, None)
            ]
        return time.process_time() - began

    assert min(seconds(20_000) for _ in range(2)) < min(seconds(1) for _ in range(3)) * 6


def test_14_nothing_is_imported_or_called_by_name() -> None:
    sys.modules.pop("this", None)

    async def test(link: Link, peer: Memory) -> None:
        calls = [("this", "s"), ("os", "getpid"), ("bridge", "link.Link"), ("bridge", "__init__")]
        for id, (name, function) in enumerate(calls):
            peer.write(frame(encode_message(Call(id, name, function, []))))
        await until(lambda: link.counters.refused_calls == len(calls))
        assert link.alive

    linked(test)
    assert "this" not in sys.modules


def test_15_bytes_after_the_term_of_a_frame_stay_in_that_frame() -> None:
    async def test(link: Link, peer: Memory) -> None:
        calls = [asyncio.create_task(link.call("f", [n], HOUR)) for n in range(2)]
        await until(lambda: link.in_flight == 2)
        peer.write(frame(encode_message(Result(1, "one")) + b"\0\0\0\1"))
        peer.write(frame(encode_message(Result(2, "two"))))
        one, two = await asyncio.gather(*calls, return_exceptions=True)
        assert str(one) == "expected the end of the frame, got 4 more bytes"
        assert (two, link.alive) == ("two", True)

    linked(test)
