"""What every transport shows; one subclass per kind in test_transports.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bridge.link.transport import Transport
from tests.deadline import DEADLINE_S


class Ear:
    """Collects what a transport reports."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.reasons: list[str] = []
        self.writes = 0
        self._changed = asyncio.Event()

    def received(self, data: bytes) -> None:
        self.data += data
        self._changed.set()

    def written(self) -> None:
        self.writes += 1
        self._changed.set()

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)
        self._changed.set()

    async def until(self, condition: Callable[[Ear], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()


class TransportSuite:
    """A transport and the peer's end of it, by `pair`; the test starts both."""

    async def pair(self) -> tuple[Transport, Transport]:
        raise NotImplementedError

    def run(self, test: Callable[[Transport, Transport, Ear, Ear], Awaitable[None]]) -> None:
        async def main() -> None:
            one, other = await self.pair()
            try:
                await test(one, other, Ear(), Ear())
            finally:
                one.close()
                other.close()

        asyncio.run(main())

    def test_bytes_arrive_in_both_directions(self) -> None:
        async def test(one: Transport, other: Transport, ear: Ear, far: Ear) -> None:
            one.start(ear)
            other.start(far)
            assert one.write(b"ping ")
            assert one.write(b"again")
            assert other.write(b"pong")
            await far.until(lambda far: far.data == b"ping again")
            await ear.until(lambda ear: ear.data == b"pong")

        self.run(test)

    def test_a_peer_that_does_not_read_does_not_hold_the_writer(self) -> None:
        async def test(one: Transport, other: Transport, ear: Ear, far: Ear) -> None:
            one.start(ear)
            piece, total = bytes(65_536), 65_536
            while one.write(piece):
                total += len(piece)
                assert total < 64 * 1024 * 1024
            assert ear.writes == 0
            other.start(far)
            await far.until(lambda far: len(far.data) == total)
            await ear.until(lambda ear: ear.writes == 1)
            assert one.write(b"more")
            await far.until(lambda far: len(far.data) == total + 4)

        self.run(test)

    def test_a_large_piece_arrives_whole(self) -> None:
        async def test(one: Transport, other: Transport, ear: Ear, far: Ear) -> None:
            one.start(ear)
            other.start(far)
            piece = bytes(range(256)) * 20_000
            if not one.write(piece):
                await ear.until(lambda ear: ear.writes == 1)
            await far.until(lambda far: len(far.data) == len(piece))
            assert far.data == piece

        self.run(test)

    def test_the_end_of_the_peer_is_told_once_after_its_bytes(self) -> None:
        async def test(one: Transport, other: Transport, ear: Ear, far: Ear) -> None:
            other.start(far)
            other.write(b"last words")
            other.close()
            one.start(ear)
            await ear.until(lambda ear: bool(ear.reasons))
            assert ear.data == b"last words"
            assert ear.reasons == ["end of file"]
            assert not one.write(b"into nothing")
            assert ear.reasons == ["end of file"]

        self.run(test)

    def test_nothing_is_told_after_close(self) -> None:
        async def test(one: Transport, other: Transport, ear: Ear, far: Ear) -> None:
            one.start(ear)
            other.start(far)
            one.close()
            one.close()
            await far.until(lambda far: bool(far.reasons))
            assert not one.write(b"x")
            assert not ear.reasons
            assert not ear.data
            assert far.reasons == ["end of file"]

        self.run(test)
