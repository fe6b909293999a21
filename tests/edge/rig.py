"""A real edge under uvicorn on a free port, and a raw client to talk to it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bridge.edge.edge import Edge
from bridge.edge.feed import Feed
from bridge.edge.listener import bind
from bridge.edge.serve import serve
from bridge.journal.memory import MemoryJournal
from bridge.settings import Settings
from bridge.telemetry import Telemetry
from tests.deadline import DEADLINE_S
from tests.edge.counter import CounterDispatcher, Registry, journal


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a test on uvloop, within the deadline."""

    async def within() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await work

    uvloop.run(within())


class Client:
    """One WebSocket that speaks version 2.0.0 frames, right or wrong ones."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.refs = itertools.count(100)

    async def send(self, *frame: Any) -> None:
        await self.connection.send(json.dumps(list(frame)))

    async def receive(self) -> Any:
        return json.loads(await self.connection.recv())

    async def reply(self, ref: Any) -> Any:
        """Return the payload of the reply to `ref`; other frames are dropped."""
        while True:
            frame = await self.receive()
            if frame[1] == ref and frame[3] == "phx_reply":
                return frame[4]

    async def ask(self, topic: str, event: str, payload: Any, join_ref: Any = "1") -> Any:
        ref = str(next(self.refs))
        await self.send(join_ref, ref, topic, event, payload)
        return await self.reply(ref)

    async def join(self, topic: str, params: Any = None, ref: str = "1") -> Any:
        await self.send(ref, ref, topic, "phx_join", params or {})
        reply = await self.reply(ref)
        assert reply["status"] == "ok", reply
        return reply["response"]

    async def events(self, count: int) -> list[Any]:
        """Return the payloads of the next events, without replies in between."""
        found: list[Any] = []
        while len(found) < count:
            frame = await self.receive()
            if not frame[3].startswith("phx_"):
                found.append(frame[4])
        return found

    async def closed(self) -> int:
        """Wait until the server closes; return its code."""
        try:
            while True:
                await self.connection.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006


@dataclass
class Rig:
    edge: Edge
    port: int
    journal: MemoryJournal
    dispatcher: CounterDispatcher
    telemetry: Telemetry
    serving: asyncio.Task[None]

    def url(self, query: str = "vsn=2.0.0", path: str = "/socket/websocket") -> str:
        return f"ws://127.0.0.1:{self.port}{path}?{query}"

    @asynccontextmanager
    async def client(self, query: str = "vsn=2.0.0", **options: Any) -> AsyncIterator[Client]:
        options = {"compression": None, "proxy": None, "max_size": None, **options}
        async with connect(self.url(query), **options) as connection:
            yield Client(connection)

    async def http(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, Any]:
        """Make one HTTP call; return status and JSON body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = {"host": f"127.0.0.1:{self.port}", "content-length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{method} {path} HTTP/1.1\r\nconnection: close\r\n{head}\r\n".encode())
        writer.write(body)
        answer = await reader.read()
        writer.close()
        top, _, rest = answer.partition(b"\r\n\r\n")
        return int(top.split()[1]), json.loads(rest) if rest else None


@asynccontextmanager
async def rig(
    store: MemoryJournal | None = None,
    dispatcher: CounterDispatcher | None = None,
    feeds: Mapping[str, Feed] | None = None,
    **given: Any,
) -> AsyncIterator[Rig]:
    """Serve an edge on port 0 with these settings, until the block ends."""
    settings = Settings(**{"port": 0, **given})
    store = store or journal()
    for name in ("counter", "other"):
        await store.ensure_route(name, "python", None)
    dispatcher = dispatcher or CounterDispatcher(store)
    telemetry = Telemetry()
    edge = Edge(Registry(), dispatcher, store, settings, telemetry, feeds=feeds)
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    started = asyncio.Event()
    serving = asyncio.create_task(serve(edge, settings, sock, started.set))
    await started.wait()
    try:
        yield Rig(edge, port, store, dispatcher, telemetry, serving)
    finally:
        dispatcher.gate.set()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
