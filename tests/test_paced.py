"""A peer's bytes in bounded turns, over real sockets on both loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import paced
from bridge.paced import (
    AT_ONCE_ITEMS,
    LEAST_PIECE_BYTES,
    PIECE_BYTES,
    TURN_BYTES,
    TURN_ITEMS,
    Paced,
    Pacing,
)
from bridge.turns import Turns
from tests.deadline import DEADLINE_S, until

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
Loop = Callable[[], asyncio.AbstractEventLoop]
MOST = AT_ONCE_ITEMS + PIECE_BYTES  # found in one turn, where each byte is a thing
TEXT = bytes(range(256)) * 400


class Reader(asyncio.Protocol):
    """Takes each byte for one thing to handle, or all of them for one."""

    transport: Paced

    def __init__(self, items: int = 1) -> None:
        self.items = items
        self.data = bytearray()
        self.pieces: list[int] = []
        self.in_turn: list[int] = []  # bytes taken in each turn of the loop that took some
        self.paused = self.lost = self.ended = self.did_stall = False
        self._turn = -1
        self.turn = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(Paced, transport)
        self._count()

    def _count(self) -> None:
        self.turn += 1
        if not self.lost:
            asyncio.get_running_loop().call_soon(self._count)

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.pieces.append(len(data))
        self.transport.charge(self.items * len(data))
        if self._turn != self.turn:
            self._turn = self.turn
            self.in_turn.append(0)
        self.in_turn[-1] += len(data)

    def eof_received(self) -> None:
        self.ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def stalled(self) -> None:
        self.did_stall = True
        self.transport.abort()


@asynccontextmanager
async def pair(
    reader: Reader, stall_s: float = 60
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect a client to a paced reader."""
    pacing = Pacing(Turns(), stall_s)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Paced(pacing, reader), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    streams = await asyncio.open_connection("127.0.0.1", port)
    await until(lambda: reader.turn)
    try:
        yield streams
    finally:
        streams[1].transport.abort()
        server.close()
        await until(lambda: reader.lost)


def run(loop: Loop, work: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await work()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(within())


@LOOPS
def test_everything_arrives_in_order_a_bounded_number_in_each_turn(loop: Loop) -> None:
    async def work() -> None:
        reader = Reader()
        async with pair(reader) as (_, writer):
            writer.write(TEXT)
            await until(lambda: len(reader.data) == len(TEXT))
        assert reader.data == TEXT
        assert max(reader.in_turn) <= MOST
        heavy = sorted(reader.in_turn)[: len(reader.in_turn) // 2]
        assert max(heavy) <= TURN_ITEMS + LEAST_PIECE_BYTES

    run(loop, work)


@LOOPS
def test_one_large_thing_comes_in_large_pieces_and_bounded_bytes(loop: Loop) -> None:
    async def work() -> None:
        reader = Reader(items=0)
        async with pair(reader) as (_, writer):
            writer.write(TEXT * 10)
            await until(lambda: len(reader.data) == 10 * len(TEXT))
        assert max(reader.pieces) <= PIECE_BYTES
        # Where the process was held up, what was read and its turn may meet in one.
        assert max(reader.in_turn) <= 2 * TURN_BYTES
        assert sorted(reader.in_turn)[len(reader.in_turn) // 2] <= TURN_BYTES

    run(loop, work)


@LOOPS
def test_a_little_is_handed_on_in_the_turn_that_read_it(loop: Loop) -> None:
    async def work() -> None:
        reader = Reader()
        async with pair(reader) as (_, writer):
            writer.write(b"x" * AT_ONCE_ITEMS)
            await until(lambda: reader.data)
        assert (reader.pieces, reader.in_turn) == ([AT_ONCE_ITEMS], [AT_ONCE_ITEMS])

    run(loop, work)


@LOOPS
def test_what_a_peer_is_written_counts_as_its_bytes(loop: Loop) -> None:
    class Echo(Reader):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(bytes(TURN_BYTES))

    async def work() -> None:
        reader = Echo(items=0)
        async with pair(reader) as (stream, writer):
            writer.write(TEXT[: 20 * PIECE_BYTES])
            for _ in range(10):
                await stream.readexactly(TURN_BYTES)
        assert max(reader.in_turn) <= PIECE_BYTES

    run(loop, work)


@LOOPS
def test_a_peer_that_reads_no_answers_is_read_no_further(loop: Loop) -> None:
    class Answers(Reader):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(bytes(100_000))

    async def work() -> None:
        reader = Answers(items=0)
        async with pair(reader) as (stream, writer):
            cast(asyncio.ReadTransport, writer.transport).pause_reading()
            writer.write(bytes(40_000_000))
            unread = reader.transport.get_write_buffer_size
            await until(lambda: unread() > paced.UNREAD_BYTES)
            assert reader.transport.busy
            assert reader.paused
            assert unread() < paced.UNREAD_BYTES + 200_000
            cast(asyncio.ReadTransport, writer.transport).resume_reading()
            before = len(reader.data)
            await stream.readexactly(100_000 * (1 + before // PIECE_BYTES))
            await until(lambda: len(reader.data) > before)

    run(loop, work)


@LOOPS
def test_a_peer_that_reads_nothing_for_too_long_has_stalled(loop: Loop) -> None:
    async def work() -> None:
        reader = Reader()
        async with pair(reader, stall_s=0.05) as (_, writer):
            cast(asyncio.ReadTransport, writer.transport).pause_reading()
            reader.transport.write(bytes(40_000_000))
            await until(lambda: reader.did_stall)

    run(loop, work)


@LOOPS
def test_a_peer_that_reads_slowly_has_not_stalled(loop: Loop) -> None:
    async def work() -> None:
        reader = Reader()
        async with pair(reader, stall_s=0.02) as (stream, _):
            reader.transport.write(bytes(20_000_000))
            for _ in range(20):
                await stream.readexactly(1_000_000)
                await asyncio.sleep(0)
            assert not reader.did_stall

    run(loop, work)


@LOOPS
def test_nothing_is_handed_on_after_a_close_and_the_peer_gets_its_answer(loop: Loop) -> None:
    class Answers(Reader):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(b"no")
            self.transport.close()
            self.transport.write(b"never")

    async def work() -> None:
        reader = Answers()
        async with pair(reader) as (stream, writer):
            writer.write(TEXT * 20)
            assert await stream.read() == b"no"
            assert len(reader.pieces) == 1
            assert reader.transport.is_closing()
            writer.close()
            await until(lambda: reader.lost)

    run(loop, work)


@LOOPS
def test_a_peer_that_does_not_close_is_closed(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paced, "LINGER_S", 0.02)

    async def work() -> None:
        reader = Reader()
        async with pair(reader):
            reader.transport.close()
            await until(lambda: reader.lost)

    run(loop, work)


@LOOPS
def test_what_comes_after_the_end_is_dropped_a_bounded_number_of_bytes_at_a_time(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paced, "DROP_S", 3600.0)
    dropped = list[int]()
    drop = paced.Paced.buffer_updated

    def counted(self: paced.Paced, nbytes: int) -> None:
        dropped.append(nbytes)
        drop(self, nbytes)

    monkeypatch.setattr(paced.Paced, "buffer_updated", counted)
    monkeypatch.setattr(paced, "LINGER_S", 0.2)

    async def work() -> None:
        reader = Reader()
        async with pair(reader) as (_, writer):
            reader.transport.close()
            writer.write(bytes(50 * paced.READ_BYTES))
            await until(lambda: reader.lost)
        assert len(dropped) == 1  # then it waited, and was closed

    run(loop, work)


@LOOPS
def test_a_pause_of_the_protocol_holds_back_what_was_read_already(loop: Loop) -> None:
    class Pauses(Reader):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def work() -> None:
        reader = Pauses(items=0)
        async with pair(reader) as (_, writer):
            writer.write(TEXT[: 3 * PIECE_BYTES])
            writer.write_eof()
            for n in range(1, 4):
                await until(lambda n=n: len(reader.pieces) == n)  # type: ignore[misc] # a lambda's default
                await asyncio.sleep(0)
                assert len(reader.pieces) == n
                assert not reader.ended
                reader.transport.resume_reading()
            await until(lambda: reader.ended)
        assert reader.data == TEXT[: 3 * PIECE_BYTES]

    run(loop, work)


@settings(max_examples=30, deadline=None)
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=5000), min_size=1, max_size=20),
    items=st.integers(0, 2),
)
def test_however_it_is_sent_it_arrives_as_it_was_sent(pieces: list[bytes], items: int) -> None:
    async def work() -> None:
        reader = Reader(items)
        async with pair(reader) as (_, writer):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
            await until(lambda: reader.ended)
        assert reader.data == b"".join(pieces)

    run(uvloop.new_event_loop, work)
