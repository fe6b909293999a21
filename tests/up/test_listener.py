"""The listening socket, handed to real processes and taken back by closing."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from bridge.up.address import listen
from bridge.up.listener import Listener
from bridge.up.place import sockets_directory
from tests.deadline import until

# A worker as the protocol has it: answers each connection with its name, leaves at end of file.
WORKER = """
import json, os, select, socket, sys
path, name = sys.argv[1:]
up = socket.socket(socket.AF_UNIX)
up.connect(path)
up.sendall(json.dumps({"pid": os.getpid(), "worker": name}).encode() + b"\\n")
line, fds, _, _ = socket.recv_fds(up, 1024, 1)
assert line == b'{"listener":true}\\n', line
listening = socket.socket(fileno=fds[0])
up.sendall(b'{"ready": true}\\n')
while True:
    readable, _, _ = select.select([up, listening], [], [])
    if up in readable:
        assert up.recv(1) == b""
        sys.exit(7)
    try:
        client, _ = listening.accept()
    except BlockingIOError:
        continue
    client.sendall(name.encode())
    client.close()
"""


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Listener, Path]]:
    path = sockets_directory() / "listener"
    listener = Listener(listen("127.0.0.1", 0, asked=False), path)
    listener.open()
    try:
        yield listener, path
    finally:
        await listener.close()
        path.parent.rmdir()


def start(path: Path, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, str(path), name])


async def answer(listener: Listener) -> bytes:
    reader, writer = await asyncio.open_connection(*listener.address)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def test_a_worker_serves_on_the_socket_it_was_handed() -> None:
    async def scenario() -> None:
        async with opened() as (listener, path):
            process = start(path, "first")
            await until(lambda: [w.ready for w in listener.workers] == [True], "it is ready")
            worker = listener.workers[0]
            assert (worker.name, worker.pid) == ("first", process.pid)
            assert await answer(listener) == b"first"
            worker.dismiss()
            assert await listener.emptied(30)
            assert process.wait() == 7

    asyncio.run(scenario())


def test_connections_wait_for_the_next_worker_when_one_is_killed() -> None:
    async def scenario() -> None:
        async with opened() as (listener, path):
            first = start(path, "first")
            await until(lambda: any(w.ready for w in listener.workers), "it is ready")
            first.kill()
            first.wait()
            assert await listener.emptied(30)
            waiting = asyncio.create_task(answer(listener))
            second = start(path, "second")
            assert await waiting == b"second"
            listener.workers[0].dismiss()
            assert await listener.emptied(30)
            assert second.wait() == 7

    asyncio.run(scenario())


def test_a_worker_is_handed_the_socket_after_there_were_no_descriptors_left() -> None:
    async def scenario() -> None:
        async with opened() as (listener, path):
            with socket.socket(socket.AF_UNIX) as stranger:
                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (stranger.fileno() + 1, hard))
                try:
                    stranger.connect(os.fspath(path))
                    for _ in range(10):  # turns of the loop, in one of which it is not accepted
                        await asyncio.sleep(0)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            process = start(path, "first")
            await until(lambda: [w.ready for w in listener.workers] == [True], "it is ready")
            listener.workers[0].dismiss()
            assert await listener.emptied(30)
            process.wait()

    asyncio.run(scenario())


def test_workers_see_end_of_file_when_the_holder_is_gone() -> None:
    async def scenario() -> int:
        async with opened() as (listener, path):
            process = start(path, "first")
            await until(lambda: any(w.ready for w in listener.workers), "it is ready")
        return process.wait(30)

    assert asyncio.run(scenario()) == 7


def test_after_stop_accepting_new_workers_and_new_clients_are_refused() -> None:
    async def scenario() -> None:
        async with opened() as (listener, path):
            address = listener.address
            listener.stop_accepting()
            with socket.socket(socket.AF_UNIX) as worker, pytest.raises(FileNotFoundError):
                worker.connect(os.fspath(path))
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)

    asyncio.run(scenario())


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"\xff\n", b"x" * 5000, b""])
def test_whoever_does_not_say_hello_gets_nothing(line: bytes) -> None:
    async def scenario() -> None:
        async with opened() as (listener, path):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(line)
            writer.write_eof()
            with suppress(ConnectionResetError):  # closed with bytes of ours unread
                assert await reader.read() == b""
            assert listener.workers == []
            writer.close()

    asyncio.run(scenario())
