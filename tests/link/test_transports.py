"""Every transport against the one suite, and what only some have."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from bridge.link.transport import Transport
from bridge.link.transports import memory
from bridge.link.transports.descriptors import Descriptors
from bridge.link.transports.socket import SocketListener
from tests.deadline import DEADLINE_S
from tests.link.transport_suite import Ear, TransportSuite


class TestMemory(TransportSuite):
    async def pair(self) -> tuple[Transport, Transport]:
        return memory.pair()

    def test_a_peer_that_does_not_read_does_not_hold_the_writer(self) -> None:
        async def test(one: Transport, other: Transport, ear: Ear, far: Ear) -> None:
            assert isinstance(other, memory.Memory)
            one.start(ear)
            other.start(far)
            other.reads = False
            assert not one.write(b"held")
            other.reads = True
            await far.until(lambda far: far.data == b"held")
            assert ear.writes == 1

        self.run(test)


class TestPipes(TransportSuite):
    async def pair(self) -> tuple[Transport, Transport]:
        (one_read, other_write), (other_read, one_write) = os.pipe(), os.pipe()
        return Descriptors(one_read, one_write), Descriptors(other_read, other_write)


class TestSocketPair(TransportSuite):
    async def pair(self) -> tuple[Transport, Transport]:
        one, other = socket.socketpair()
        return Descriptors.of_socket(one), Descriptors.of_socket(other)


class TestUnixSocket(TransportSuite):
    async def pair(self) -> tuple[Transport, Transport]:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            connected: asyncio.Future[Transport] = asyncio.get_running_loop().create_future()
            listener = SocketListener(Path(folder) / "w.sock", connected.set_result)
            listener.open()
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(listener.path))
            async with asyncio.timeout(DEADLINE_S):
                one = await connected
            listener.close()
            return one, Descriptors.of_socket(client)


@pytest.mark.parametrize("suite", [TestPipes, TestSocketPair])
def test_uvloop_carries_descriptors_too(suite: type[TransportSuite]) -> None:
    async def main() -> None:
        one, other = await suite().pair()
        ear, far = Ear(), Ear()
        one.start(ear)
        other.start(far)
        piece = bytes(range(256)) * 4000
        if not one.write(piece):
            await ear.until(lambda ear: ear.writes == 1)
        await far.until(lambda far: len(far.data) == len(piece))
        one.close()
        await far.until(lambda far: far.reasons == ["end of file"])

    uvloop.run(main())


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a short path: a socket's name has at most 103 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def listen(path: Path) -> SocketListener:
    return SocketListener(path, lambda transport: transport.close())


def test_the_socket_belongs_to_its_user_and_goes_with_the_listener(folder: Path) -> None:
    async def main() -> None:
        listener = listen(folder / "w.sock")
        listener.open()
        assert stat.S_IMODE(listener.path.stat().st_mode) == 0o600
        listener.close()
        assert not listener.path.exists()

    asyncio.run(main())


def test_a_socket_that_a_dead_process_left_is_replaced(folder: Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(folder / "w.sock"))
        listener = listen(folder / "w.sock")
        listener.open()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(listener.path))
        listener.close()

    asyncio.run(main())


def test_a_socket_that_answers_is_left_alone(folder: Path) -> None:
    async def main() -> None:
        first, second = listen(folder / "w.sock"), listen(folder / "w.sock")
        first.open()
        with pytest.raises(OSError, match="another process listens there"):
            second.open()
        first.close()

    asyncio.run(main())


def test_a_path_too_long_for_a_socket_is_refused_with_the_way_out(folder: Path) -> None:
    async def main() -> None:
        path = folder / ("x" * 100)
        with pytest.raises(OSError, match="a socket's path has at most 103; set BRIDGE_LINK_DIR"):
            listen(path).open()

    asyncio.run(main())
