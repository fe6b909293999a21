"""Run an edge under uvicorn on a socket that is already listening."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import uvicorn

from bridge.edge.connection import Connection
from bridge.edge.edge import Edge
from bridge.edge.http import Http
from bridge.edge.listener import BACKLOG
from bridge.paced import Paced, Pacing
from bridge.settings import Settings
from bridge.turns import Turns

KEEP_ALIVE_S = 5  # between an answer and the next request


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals belong to the worker."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    ready: Callable[[], None] = staticmethod(lambda: None)


class _Accepting:
    """Whether connections are taken here: not to listen leaves them to who shares the socket."""

    def __init__(self, server: _Server, sock: socket.socket) -> None:
        self._server = server
        self._sock = sock
        self._accepts = True
        self._begun = self._ended = False
        self._opening: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._begun = True
        if not self._accepts:
            self._close()

    def accept(self, accepts: bool) -> None:
        if accepts == self._accepts or self._ended:
            return
        self._accepts = accepts
        if not accepts:
            self._close()
        elif self._begun:
            self._opening = asyncio.create_task(self._open())

    def end(self) -> None:
        self._ended = True
        self._close()
        self._sock.close()

    def _close(self) -> None:
        for listener in self._server.servers:
            listener.close()
        self._server.servers.clear()

    async def _open(self) -> None:
        """Listen again, as uvicorn does at its start."""
        config, server = self._server.config, self._server
        made: Any = config.http_protocol_class
        protocol = partial(
            made,
            config=config,
            server_state=server.server_state,
            app_state=server.lifespan.state,
        )
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(protocol, sock=self._sock.dup(), backlog=BACKLOG)
        server.servers.append(listener)
        if not self._accepts or self._ended:
            self._close()


async def serve(
    edge: Edge,
    settings: Settings,
    sock: socket.socket,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Accept on `sock` until the edge has drained; `started` is called once it accepts.

    `sock` is closed by it, which is how it stops accepting: other holders of the same socket
    accept what waits in its queue.
    """
    pacing = Pacing(Turns(), settings.idle_timeout_ms / 1000)
    request_s = settings.request_timeout_ms / 1000

    def http(**given: Any) -> Paced:
        return Paced(pacing, Http(request_s, **given))

    config = uvicorn.Config(
        edge.app,
        interface="asgi3",
        proxy_headers=False,
        http=http,  # type: ignore[arg-type] # a class, says uvicorn; it only calls it
        ws=Connection,
        lifespan="off",
        backlog=BACKLOG,
        ws_max_size=settings.max_frame_bytes,
        ws_per_message_deflate=False,  # 40 kB per connection
        ws_ping_interval=None,  # clients send heartbeats
        log_config=None,
        log_level="warning",  # at info it would log tokens in query strings
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    accepting = _Accepting(server, sock.dup())
    edge.accept = accepting.accept
    edge.stop_accepting = accepting.end

    def ready() -> None:
        accepting.begin()
        started()

    server.ready = ready
    watch = asyncio.create_task(edge.watch())
    presence = asyncio.create_task(edge.presence.run())
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    drained = asyncio.create_task(edge.drained.wait())
    try:
        await asyncio.wait([serving, drained], return_when=asyncio.FIRST_COMPLETED)
        await _closing_handshakes(server)
        server.should_exit = True
        await serving
    finally:
        for task in (watch, presence, drained, serving):
            task.cancel()
        await asyncio.gather(watch, presence, drained, serving, return_exceptions=True)
        accepting.end()
        await edge.fanout.close()


async def _closing_handshakes(server: _Server) -> None:
    """Give clients a second to answer the close frame: closed before, TCP may drop what they
    have not read yet.
    """
    for _ in range(50):
        if not any(isinstance(c, Connection) for c in server.server_state.connections):
            return
        await asyncio.sleep(0.02)
