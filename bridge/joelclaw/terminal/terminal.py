"""joelclaw's terminal client, on a port of its own: its frames as they are today.

Every worker runs a Terminal. The one that got the port serves; the others try again once a
second, and one of them takes over when it dies. What a client types becomes commands of one topic
(setting `terminal`), that topic's events become frames for every client, in commit order.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import orjson
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import Event

from bridge.access import AccessRefused, Caller, Gate
from bridge.errors import BridgeError
from bridge.joelclaw.outage import Outage
from bridge.journal.values import PositionGone
from bridge.message import JSON, Message
from bridge.paced import Paced, Pacing
from bridge.pause import pause
from bridge.settings import Settings
from bridge.turns import Turns

if TYPE_CHECKING:
    from bridge.dispatch import Dispatcher
    from bridge.joelclaw.envelopes import Envelopes
    from bridge.joelclaw.terminal.topic import Topic
    from bridge.journal.store import Journal
    from bridge.telemetry import Telemetry

AGAIN_S = 1.0  # between attempts to get the port
MAX_CLIENTS = 32
PAGE = 100  # events read at once; the least that setting `events_keep` keeps
WAIT_MS = 5_000
CLOSE_S = 2.0  # for a client's part of the closing handshake
MAX_ERROR = 2_000  # characters of an error frame's text
CLOSE_DEFECT = 1011
CLOSE_RESTART = 1012
CLOSE_SLOW = 1013
HEALTH = "/health"
# Events `terminal.<kind>` that become frames.
FRAMES = ("text_delta", "tool_call", "tool_result", "turn_end", "error")


def port_taken(settings: Settings) -> bool:
    """Say whether somebody has the port now: no worker of a bridge that only starts does."""
    try:
        _listening(settings.host, settings.terminal_port).close()
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


class _Connection(ServerConnection):
    """A client's connection, whose frames count, pings too."""

    transport: Paced

    def process_event(self, event: Event) -> None:
        self.transport.charge(1)
        super().process_event(event)

    def stalled(self) -> None:
        """Drop a client that reads nothing: no close frame would reach it."""
        self.transport.abort()


class Terminal:
    """The terminal's port, in one worker. A client is not told anything of before it came."""

    name = "terminal"

    def __init__(
        self,
        worker: str,
        topic: Topic,
        dispatcher: Dispatcher,
        journal: Journal,
        envelopes: Envelopes,
        settings: Settings,
        telemetry: Telemetry,
        *,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._worker = worker
        self._topic = topic
        self._dispatcher = dispatcher
        self._journal = journal
        self._envelopes = envelopes
        self._settings = settings
        self._telemetry = telemetry
        self._new_id = new_id
        self._gate = Gate.of(settings)
        self._address = (settings.host, settings.terminal_port)
        self._started = time.monotonic()
        self._closing = asyncio.Event()
        self._pacing = Pacing(Turns(), settings.idle_timeout_ms / 1000)
        self._server: Server | None = None
        self._hanging_up: dict[ServerConnection, asyncio.Task[None]] = {}
        self._outage = Outage(telemetry, "terminal_events")

    async def run(self) -> None:
        """Serve whenever the port is to be had; end after `close`, when the clients are gone."""
        said = ""
        while not self._closing.is_set():
            try:
                with _listening(*self._address) as sock:
                    # Known before the first client is: it sees all that its prompts cause.
                    position = await self._journal.last_position(self._topic.subsystem)
                    said = ""
                    await self._serve(sock, position)
                continue
            except OSError as error:
                why = _why(error, self._address[1])
            except BridgeError as error:
                why = error.message
            except Exception as error:  # a defect must not end the worker: count, serve again
                self._telemetry.emit("defect", where="terminal", text=repr(error))
                why = "a defect"
            if why != said:
                said = why
                self._telemetry.emit("terminal_waits", worker=self._worker, text=why)
            await pause(AGAIN_S, self._closing)

    def close(self) -> None:
        """Give up the port and send the clients on: they connect again, to another worker."""
        self._closing.set()

    def status(self) -> dict[str, JSON]:
        return {
            "port": self._address[1],
            "topic": str(self._topic),
            "serving": self._server is not None,
            "clients": len(self._clients),
            "failures": self._outage.failures,
        }

    @property
    def _clients(self) -> set[ServerConnection]:
        return self._server.connections if self._server is not None else set()

    async def _serve(self, sock: socket.socket, position: str) -> None:
        async with (
            serve(
                self._client,
                sock=sock,
                process_request=self._admit,
                compression=None,  # 40 kB per connection
                server_header=None,
                max_size=self._settings.max_frame_bytes,
                max_queue=4,
                create_connection=self._paced,  # type: ignore[arg-type] # it only calls it
                close_timeout=CLOSE_S,
            ) as server,
            asyncio.TaskGroup() as tasks,
        ):
            following = tasks.create_task(self._follow(position))
            self._server = server
            self._telemetry.emit("terminal_serves", worker=self._worker)
            try:
                await self._closing.wait()
            finally:
                self._server = None
                following.cancel()
                server.close(code=CLOSE_RESTART, reason="this worker is stopping")

    def _paced(self, *args: Any, **given: Any) -> Paced:
        return Paced(self._pacing, _Connection(*args, **given))

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Hold a request to the same rules as the edge; None lets it become a socket."""
        path, _, query = request.path.partition("?")
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in request.headers.raw_items()
        ]
        try:
            caller = Caller.of(headers, query.encode("latin-1"))
            self._gate.check_page(caller)
            if "upgrade" not in request.headers:
                return self._answer_http(connection, request.method, path)
            self._gate.check_token(caller)
            if len(self._clients) >= MAX_CLIENTS:
                raise AccessRefused(
                    503,
                    BridgeError(
                        "overloaded", f"{MAX_CLIENTS} clients are attached", limit=MAX_CLIENTS
                    ),
                )
        except AccessRefused as refused:
            self._telemetry.emit("terminal_refused", status=str(refused.status))
            return connection.respond(refused.status, f"{refused}\n")
        return None

    def _answer_http(self, connection: ServerConnection, method: str, path: str) -> Response:
        if path == HEALTH and method in ("GET", "HEAD"):
            return connection.respond(200, "ok\n" if method == "GET" else "")
        response = connection.respond(426, "a WebSocket is here, for `joelclaw tui --url`\n")
        response.headers["Upgrade"] = "websocket"
        return response

    # -- one client ------------------------------------------------------------------------
    async def _client(self, connection: ServerConnection) -> None:
        try:
            await self._take(connection, b'{"type":"status"}')
            async for data in connection:
                await self._take(connection, data)
        except ConnectionClosed:
            pass
        except Exception as error:  # a defect ends this client's socket, not the others'
            self._telemetry.emit("defect", where="terminal_client", text=repr(error))
            await connection.close(CLOSE_DEFECT, "a defect of the bridge; it was counted")

    async def _take(self, connection: ServerConnection, data: str | bytes) -> None:
        """Do what one frame asks for; the next one waits."""
        try:
            request = self._envelopes.check("TerminalRequest", data)
            match request["type"]:
                case "prompt":
                    await self._dispatch("prompt", {"text": request["text"]})
                case "abort":
                    await self._dispatch("abort", {})
                case "status":
                    await self._send_status(connection)
        except BridgeError as error:
            self._telemetry.emit("terminal_error", code=error.code)
            self._send([connection], _error(_told(error)))

    async def _send_status(self, connection: ServerConnection) -> None:
        """Send what is known here, with what the subsystem says in its place.

        It comes too when the subsystem cannot be asked: a client waits for it.
        """
        told: JSON = {}
        failed: BridgeError | None = None
        try:
            told = await self._dispatch("status", {})
        except BridgeError as error:
            failed = error
        away = failed is not None and failed.code == "storage_unavailable"
        data = {
            "sessionId": str(self._topic),
            "isStreaming": False,
            "model": "unknown",
            "uptimeMs": int((time.monotonic() - self._started) * 1000),
            "pid": os.getpid(),
            "channelInfo": {
                "bridge": self._worker,
                "redis": "degraded" if away else "ok",
                "ws": {"port": self._address[1], "clients": len(self._clients)},
            },
            "queueDepth": 0,
        }
        merged = data | told if isinstance(told, dict) else told
        self._send([connection], {"type": "status", "data": merged})
        if failed is not None:
            raise failed

    async def _dispatch(self, operation: str, request: JSON) -> JSON:
        message = Message(self._new_id(), *self._topic, operation, request)
        try:
            return await self._dispatcher.dispatch(message, timeout_ms=self._settings.timeout_ms)
        except BridgeError:
            raise
        except Exception as error:  # a defect of ours: the client still gets its answer
            self._telemetry.emit("defect", where="terminal_dispatch", text=repr(error))
            raise BridgeError("internal", "a defect of the bridge; it was counted") from None

    def _send(self, clients: Iterable[ServerConnection], frame: JSON) -> None:
        """Send a frame, without waiting, to those that keep up, and hang up on the others.

        Raises BridgeError for a frame off its contract.
        """
        data = orjson.dumps(frame)
        self._envelopes.check("TerminalFrame", data)
        room = self._settings.max_queue_bytes - len(data)
        for client in clients:
            if client.transport.get_write_buffer_size() <= room:
                broadcast((client,), data, text=True)
            elif client not in self._hanging_up:
                self._telemetry.emit("terminal_slow")
                self._hanging_up[client] = asyncio.create_task(self._hang_up(client))

    async def _hang_up(self, client: ServerConnection) -> None:
        """Close with a code, and drop a client that does not even read that."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await client.close(CLOSE_SLOW, "too slow: connect again")
        except TimeoutError:
            client.transport.abort()
        finally:
            del self._hanging_up[client]

    # -- events ----------------------------------------------------------------------------
    async def _follow(self, position: str) -> None:
        """Make frames of the topic's events until cancelled, through any trouble of Redis."""
        subsystem, key = self._topic
        while True:
            try:
                # After a failure it does not wait: that Redis is back is known at once.
                wait_ms = 0 if self._outage.failures else WAIT_MS
                events = await self._journal.events_after(subsystem, position, PAGE, wait_ms)
                # Trimmed before it was read: that can only be when a page is full.
                missed = len(events) == PAGE and await self._journal.has_gap(subsystem, position)
            except PositionGone:
                events, missed = [], True
                position = await self._last_position(position)
            except BridgeError as error:
                await asyncio.sleep(self._outage.failed(error))
                continue
            self._outage.over()
            if missed:
                self._telemetry.emit("events_missed", subsystem=subsystem)
                self._show(_error("some output is missing: more came than is kept"))
            for event in events:
                position = event.position
                kind = event.type.removeprefix("terminal.")
                if event.key == key and event.type != kind and kind in FRAMES:
                    self._show({**event.payload, "type": kind})

    async def _last_position(self, position: str) -> str:
        try:
            return await self._journal.last_position(self._topic[0])
        except BridgeError as error:
            await asyncio.sleep(self._outage.failed(error))
            return position

    def _show(self, frame: JSON) -> None:
        try:
            self._send(self._clients, frame)
        except BridgeError as error:
            self._telemetry.emit("terminal_off_contract", text=error.message)
            self._send(self._clients, _error(f"the subsystem's event is no frame: {error}"))


def _listening(host: str, port: int) -> socket.socket:
    """Return the listening socket; OSError if another one has the port (no SO_REUSEPORT)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _why(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is another worker's, or another program's"
    return f"port {port}: {error.strerror}"


def _error(text: str) -> JSON:
    return {"type": "error", "message": text[:MAX_ERROR]}


def _told(error: BridgeError) -> str:
    code = error.detail.get("code") if error.code == "refused" else None
    return f"{code or error.code}: {error.message}"
