"""A TCP proxy that loses what a network loses: answers and connections."""

from __future__ import annotations

import asyncio
from typing import Literal

Replies = Literal["pass", "swallow", "cut"]


class DroppyProxy:
    """Stand before a server on 127.0.0.1.

    `replies` says what happens to bytes from the server: `pass`, `swallow` (read and thrown
    away, the connection stays), or `cut` (thrown away, and the connection is cut, so its client
    knows only that no answer will come). `drop_next(n)` does so n times, then passes again.
    """

    def __init__(self, server_port: int, server_host: str = "127.0.0.1") -> None:
        self.replies: Replies = "pass"
        self.refuse = False  # new connections are closed at once
        self.accepted = 0
        self.dropped = 0  # chunks from the server that did not pass
        self._server_address = server_host, server_port
        self._drops_left = 0
        self._drop: Replies = "cut"
        self._listener: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self.cut()
        if self._serving:
            await asyncio.wait(self._serving)

    @property
    def port(self) -> int:
        assert self._listener is not None
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def open_connections(self) -> int:
        return len(self._pairs)

    def cut(self) -> None:
        """Cut every connection now."""
        for pair in list(self._pairs):
            _cut(pair)

    def drop_next(self, count: int = 1, how: Replies = "cut") -> None:
        """Do `how` with the server's next `count` chunks, then what `replies` says."""
        self._drops_left = count
        self._drop = how

    def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        serving = asyncio.create_task(self._relay(client_reader, client))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _relay(
        self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        if self.refuse:
            client.transport.abort()
            return
        try:
            server_reader, server = await asyncio.open_connection(*self._server_address)
        except OSError:
            client.transport.abort()
            return
        pair = client, server
        self._pairs.add(pair)
        onward = asyncio.create_task(_copy(client_reader, server))
        try:
            await self._answers(server_reader, client)
        except OSError:
            pass  # the client went away
        finally:
            onward.cancel()
            _cut(pair)
            self._pairs.discard(pair)

    async def _answers(self, source: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            now = self._drop if self._drops_left > 0 else self.replies
            self._drops_left = max(0, self._drops_left - 1)
            if now == "pass":
                client.write(data)
                await client.drain()
                continue
            self.dropped += 1
            if now == "cut":
                return


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except OSError:
        pass  # the other direction ends the pair
    target.transport.abort()


def _cut(pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
    for writer in pair:
        writer.transport.abort()
