"""A stopping worker: nobody's push fails, everybody is told to come back, the address stays."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from bridge.edge.listener import NoListener, bind, obtain
from bridge.edge.serve import serve
from bridge.settings import Settings
from tests.deadline import DEADLINE_S, until
from tests.edge.rig import Client, rig, run


def test_a_drain_tells_each_topic_and_closes_with_1012() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            draining = asyncio.create_task(r.edge.drain())
            assert await client.receive() == ["1", "1", "counter:a", "phx_error", {}]
            assert (await client.ask("counter:a", "add", {}))["response"] == {"total": 1}
            await client.send("2", "2", "counter:b", "phx_join", {})
            assert (await client.reply("2"))["response"]["code"] == "draining"
            assert await client.closed() == 1012
            await draining
            await r.serving

    run(main())


def test_a_drain_waits_for_pushes_in_flight() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            await client.send("1", "h", "counter:a", "hold", {})
            draining = asyncio.create_task(r.edge.drain())
            await until(lambda: any(s.session.phase == "closing" for s in r.edge.sockets))
            late = await client.ask("counter:a", "add", {})
            assert late["response"]["code"] == "draining"
            r.dispatcher.gate.set()
            assert (await client.reply("h"))["response"] == {"total": 1}
            assert await client.closed() == 1012
            await draining

    run(main())


def test_a_drain_does_not_wait_for_ever() -> None:
    async def main() -> None:
        async with rig(drain_ms=1) as r, r.client() as client:
            await client.join("counter:a")
            await client.send("1", "h", "counter:a", "slow", {})
            await r.edge.drain()
            assert await client.closed() == 1012

    run(main())


def test_a_draining_edge_is_unhealthy_and_takes_no_socket() -> None:
    async def main() -> None:
        async with rig() as r:
            r.edge.draining = True
            assert await r.http("GET", "/health") == (503, {"status": "draining"})
            with pytest.raises(InvalidStatus) as refused:
                await connect(r.url(), proxy=None)
            assert refused.value.response.status_code == 503

    run(main())


def test_a_draining_worker_leaves_new_connections_to_the_others() -> None:
    async def main() -> None:
        async with rig() as first, rig() as second:
            shared = bind("127.0.0.1", 0)
            port = shared.getsockname()[1]
            url = f"ws://127.0.0.1:{port}/socket/websocket?vsn=2.0.0"
            copies = [socket.socket(fileno=os.dup(shared.fileno())) for _ in range(2)]
            serving = [asyncio.create_task(serve(first.edge, first.edge.settings, copies[0]))]
            async with connect(url, proxy=None) as connection:
                client = Client(connection)
                await client.join("counter:a")
                await client.send("1", "h", "counter:a", "hold", {})
                draining = asyncio.create_task(first.edge.drain())
                await until(lambda: first.edge.draining)
                serving.append(
                    asyncio.create_task(serve(second.edge, second.edge.settings, copies[1]))
                )
                for _ in range(50):
                    async with connect(url, proxy=None):
                        assert len(first.edge.sockets) == 1
                first.dispatcher.gate.set()
                assert await client.closed() == 1012
            await draining
            await second.edge.drain()
            await asyncio.gather(*serving)
            shared.close()

    run(main())


class Giver:
    """Hand one descriptor to each worker that asks, as `bridge up` does."""

    def __init__(self, path: str, sock: socket.socket | None) -> None:
        self.lines: list[object] = []
        self._listening = sock
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen()
        self._server.setblocking(False)
        self._workers: list[socket.socket] = []

    async def serve_one(self) -> None:
        loop = asyncio.get_running_loop()
        worker, _ = await loop.sock_accept(self._server)
        self._workers.append(worker)
        buffer = b""
        while True:
            *lines, rest = buffer.split(b"\n")
            for line in lines:
                self.lines.append(json.loads(line))
                if len(self.lines) == 1:
                    given = [] if self._listening is None else [self._listening.fileno()]
                    socket.send_fds(worker, [b"\n"], given)
            data = await loop.sock_recv(worker, 1000)
            if not data:
                return
            buffer = rest + data

    def close(self) -> None:
        for sock in (self._server, *self._workers):
            sock.close()


def test_the_socket_is_handed_over_and_the_giver_is_watched() -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "listener.sock"))
            given = bind("127.0.0.1", 0)
            giver = Giver(path, given)
            serving = asyncio.create_task(giver.serve_one())
            listener = await obtain(Settings(listener=path), "w1")
            assert listener.sock.getsockname() == given.getsockname()
            assert not os.get_inheritable(listener.sock.fileno())
            await listener.ready()
            await until(lambda: len(giver.lines) == 2)
            assert giver.lines == [{"pid": os.getpid(), "worker": "w1"}, {"ready": True}]
            assert not listener.lost.is_set()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            giver.close()
            async with asyncio.timeout(DEADLINE_S):
                await listener.lost.wait()
            await listener.close()
            given.close()

    run(main())


def test_a_hand_over_without_a_descriptor_is_an_error() -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "listener.sock"))
            giver = Giver(path, None)
            serving = asyncio.create_task(giver.serve_one())
            with pytest.raises(NoListener):
                await obtain(Settings(listener=path), "w1")
            await serving
            giver.close()

    run(main())


def test_without_a_giver_the_address_is_bound() -> None:
    async def main() -> None:
        listener = await obtain(Settings(port=0), "w1")
        assert listener.sock.getsockname()[0] == "127.0.0.1"
        await listener.ready()
        await listener.close()

    run(main())
