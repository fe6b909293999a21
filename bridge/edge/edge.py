"""Where clients connect: an ASGI application for sockets, health and administration."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from typing import Any, Protocol

import orjson

from bridge import patience
from bridge.access import SUBPROTOCOL, AccessRefused, Caller, Gate
from bridge.channels.frames import V1, V2, codec_for
from bridge.channels.requests import Presence
from bridge.channels.session import CLOSE_DRAINED, CLOSE_IDLE, Push
from bridge.edge.admin import Admin
from bridge.edge.body import Body
from bridge.edge.connection import EXTENSION, Connection
from bridge.edge.contract import Contract, Operation
from bridge.edge.fanout import Fanout
from bridge.edge.feed import Feed, FeedFollower
from bridge.edge.handshake import incomplete, missing_headers
from bridge.edge.moves import MoveCalls
from bridge.edge.node import NodeEdge
from bridge.edge.presence import Presences
from bridge.edge.queries import Queries
from bridge.edge.respond import JSON_TYPE, Headers, respond, respond_to_handshake
from bridge.edge.socket import Socket
from bridge.errors import BridgeError
from bridge.journal.store import Journal
from bridge.link.link import Function, Link
from bridge.message import JSON, Message, RuntimeName
from bridge.settings import Settings
from bridge.telemetry import Telemetry

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

HEALTH_S = 1.0  # how old the answer of /health may be
SOCKET_PATHS = ("/socket/websocket", "/socket/websocket/")
UPGRADE = (b"upgrade", b"websocket")
ANSWER_ON_MS = 300  # below the second after which phoenix.js joins again
BATCH = 500  # clients that are sent on together, every ...
BATCH_S = 0.1


class Registry(Protocol):
    """What the edge needs of the registry; `bridge.contracts.registry.Registry` is one."""

    def get(self, name: str) -> Contract: ...


class Dispatcher(Protocol):
    """What the edge needs of the dispatcher; `bridge.dispatch.Dispatcher` is one."""

    async def dispatch(
        self, message: Message, *, timeout_ms: int, runtime: RuntimeName | None = None
    ) -> JSON: ...

    async def migrate(self, subsystem: str, key: str, timeout_ms: int) -> bool: ...


class Ingress(Protocol):
    """What takes other calls on the same port; `bridge.joelclaw.inngest.ingress.Ingress` is one.

    Answers are status, headers and body.
    """

    def takes(self, path: str) -> bool: ...

    async def answer(
        self, scope: Scope, read_body: Callable[[int], Awaitable[bytes]]
    ) -> tuple[int, Headers, bytes]:
        """Answer a request; `read_body` returns its body, up to so many bytes.

        It raises TimeoutError for one that does not come, BridgeError for one that is too large.
        """
        ...

    def refuse(self, error: BridgeError) -> tuple[int, Headers, bytes]: ...


class Edge:
    """The sockets of one worker. `serve` runs it; `drain` sends everyone on and ends it."""

    def __init__(
        self,
        registry: Registry,
        dispatcher: Dispatcher,
        journal: Journal,
        settings: Settings,
        telemetry: Telemetry,
        *,
        status: Callable[[], Awaitable[dict[str, JSON]]] | None = None,
        ingress: Ingress | None = None,
        feeds: Mapping[str, Feed] | None = None,
        moves: MoveCalls | None = None,
        new_id: Callable[[], str] = lambda: uuid4_of(random.getrandbits(128)),
    ) -> None:
        self.settings = settings
        self.telemetry = telemetry
        self.fanout = Fanout(journal, telemetry)
        self._feeds = feeds or {}
        for name, feed in self._feeds.items():
            self.fanout.put(name, FeedFollower(journal, telemetry, self.fanout.turns, name, feed))
        self.new_id = new_id
        self.sockets: set[Socket] = set()
        self.draining = False
        self.drained = asyncio.Event()
        self.stop_accepting: Callable[[], None] = lambda: None  # set by `serve`
        self.accept: Callable[[bool], None] = lambda accepts: None  # set by `serve`
        # Kept: Python 3.11 makes a system call to find the running loop, and queries are many.
        self._loop = asyncio.get_running_loop()
        self._journal = journal
        self._registry = registry
        self._dispatcher = dispatcher
        self._gate = Gate.of(settings)
        self.admin = Admin(journal, status or self._status, dispatcher.migrate, moves)
        self._ingress = ingress
        self._health_until = 0.0  # until when `_storage_health` is an answer
        self._storage_health: asyncio.Task[tuple[int, JSON]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: set[asyncio.Task[Any]] = set()  # uvicorn's, under way in the ingress
        self.queries = Queries(lambda push: self.dispatch(push, settings.timeout_ms), self.start)
        self.presence = Presences(journal.presence, telemetry, settings.presence_lease_ms, new_id)
        self._nodes: dict[Link, NodeEdge] = {}

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request or serve one socket (ASGI 3)."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    # -- sockets ---------------------------------------------------------------------------
    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = await self._handshake(scope, receive, send)
        if socket is None:
            return
        self.sockets.add(socket)
        try:
            await receive()  # websocket.disconnect: messages go to the socket itself
        finally:
            self.sockets.discard(socket)
            socket.close()

    async def _handshake(self, scope: Scope, receive: Receive, send: Send) -> Socket | None:
        await receive()  # websocket.connect
        try:
            caller = Caller.of(scope["headers"], scope["query_string"], scope["subprotocols"])
            codec = self.check(scope["path"], caller)
        except AccessRefused as refused:
            self.telemetry.emit("connection_refused", status=str(refused.status))
            await respond_to_handshake(send, refused.status, refused.error.response())
            return None
        connection: Connection = scope["extensions"][EXTENSION]["connection"]
        accept: dict[str, Any] = {"type": "websocket.accept"}
        if SUBPROTOCOL in caller.subprotocols:
            accept["subprotocol"] = SUBPROTOCOL
        await send(accept)
        connection.trim()
        scope.clear()
        return Socket(self, connection, codec, self.admit)

    def check(self, path: str, caller: Caller) -> V1 | V2:
        """Return the codec of a socket that may open, or raise AccessRefused."""
        if path not in SOCKET_PATHS:
            raise AccessRefused(404, _nothing_at(path))
        self._gate.check_page(caller)
        self._gate.check_token(caller)
        if self.draining:
            raise AccessRefused(503, BridgeError("draining", "this worker is stopping"))
        try:
            return codec_for(caller.params.get("vsn", V1.version))
        except BridgeError as error:
            raise AccessRefused(400, error) from None

    def check_admin(self, caller: Caller) -> None:
        """Raise AccessRefused for a caller who may not know what runs here."""
        self._gate.check_page(caller)
        self._gate.check_token(caller)

    def admit(self, subsystem: str, key: str, presence: Presence | None) -> None:
        """Raise BridgeError for a topic that does not exist, or where nobody is seen."""
        contract = self._contract(subsystem)
        contract.check_key(key)
        if presence is not None and not contract.presence:
            raise BridgeError(
                "invalid_request",
                f"/presence: the contract of {subsystem} has none",
                pointer="/presence",
                expected="a contract with presence",
                actual=subsystem,
            )
        self.presence.add(subsystem, contract)

    def operation(self, push: Push) -> Operation:
        """Return what a push asks for; raises BridgeError if it may not."""
        operation = self._contract(push.channel.subsystem).operation(push.operation)
        if push.binary and not operation.content_type:
            raise BridgeError(
                "unsupported_binary",
                f"{push.operation} declares no content type",
                expected="a text frame",
                actual="a binary frame",
            )
        return operation

    def _contract(self, subsystem: str) -> Contract:
        feed = self._feeds.get(subsystem)
        return self._registry.get(subsystem) if feed is None else feed.contract

    def ask(self, socket: Socket, push: Push) -> None:
        self.queries.ask(socket, push)

    async def dispatch(self, push: Push, timeout_ms: int) -> JSON | BridgeError:
        channel = push.channel
        message = Message(
            push.message_id or self.new_id(),
            channel.subsystem,
            channel.key,
            push.operation,
            push.request,
        )
        if timeout_ms <= 0:
            return BridgeError(
                "deadline_exceeded",
                "not applied: the commands before it took all its time",
                message_id=message.id,
            )
        feed = self._feeds.get(channel.subsystem)
        try:
            if feed is not None:
                return await feed.answer(push.operation, push.request)
            return await self._dispatcher.dispatch(
                message, timeout_ms=timeout_ms, runtime=push.runtime
            )
        except BridgeError as error:
            return error
        except Exception as error:  # a defect of ours: the client still gets its answer
            self.telemetry.emit("defect", where="dispatch", text=repr(error))
            return BridgeError(
                "internal", "a defect of the bridge; it was counted", message_id=message.id
            )

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work that outlives its caller; a defect in it is counted."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.telemetry.emit("defect", where="edge", text=repr(error))

    # -- nodes -----------------------------------------------------------------------------
    def functions(self, link: Link) -> dict[str, Function]:
        """Return what the Phoenix edge of the node at the other end may call."""
        node = self._nodes[link] = NodeEdge(self, link)
        self.start(self._forget(link))
        return node.functions()

    async def _forget(self, link: Link) -> None:
        await link.closed.wait()
        del self._nodes[link]

    # -- life ------------------------------------------------------------------------------
    async def watch(self) -> None:
        """Close sockets that send nothing, not even heartbeats, until cancelled."""
        loop = asyncio.get_running_loop()
        idle_s = self.settings.idle_timeout_ms / 1000
        while True:
            await patience.sleep(min(idle_s / 4, 5.0))
            before = loop.time() - idle_s
            for socket in [s for s in self.sockets if s.heard_at < before]:
                socket.hang_up(CLOSE_IDLE, f"nothing heard for {idle_s:g} s")

    def told(self, told: dict[str, object]) -> None:
        """Do what who gives out the listening socket says: take connections or not, and send
        clients on, to whoever takes them now.
        """
        if "accept" in told:
            self.accept(told["accept"] is True)
        if told.get("send_on") is True and not self.draining:
            self.start(self._send_on(list(self.sockets)))

    async def _send_on(self, sockets: list[Socket]) -> None:
        """Send clients on as `drain` does, a batch at a time, while this worker stays."""
        for start in range(0, len(sockets), BATCH):
            batch = sockets[start : start + BATCH]
            for socket in batch:
                socket.drain()
            self.start(self._close_sent_on(batch))
            await asyncio.sleep(BATCH_S)

    async def _close_sent_on(self, batch: list[Socket]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.drain_ms / 1000
        await asyncio.sleep(ANSWER_ON_MS / 1000)
        for socket in batch:
            socket.session.close()

        def waits() -> bool:
            return any(socket.session.in_flight and not socket.closed for socket in batch)

        while waits() and loop.time() < deadline:  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(BATCH_S)
        for socket in batch:
            socket.hang_up(CLOSE_DRAINED, "another edge serves here: connect again")

    async def drain(self) -> None:
        """Stop accepting, send each client on without failing a push, then end `serve`.

        phoenix.js answers `phx_error` by keeping new pushes back; those under way are answered
        for 300 ms, and up to `drain_ms` while there are unanswered ones. Then sockets close with
        1012, on which every version of it connects again.
        """
        if self.draining:
            await self.drained.wait()
            return
        self.draining = True
        self.stop_accepting()
        self.presence.stop_renewing()
        for socket in list(self.sockets):
            socket.drain()
        await asyncio.sleep(ANSWER_ON_MS / 1000)
        for socket in self.sockets:
            socket.session.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.drain_ms / 1000
        while self._in_flight() and (left_s := deadline - loop.time()) > 0:
            under_way = self._tasks | self._calls
            await asyncio.wait(under_way, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        for socket in list(self.sockets):
            socket.hang_up(CLOSE_DRAINED, "this worker is stopping: connect again")
        await self.fanout.close()
        self.drained.set()

    def _in_flight(self) -> int:
        sockets = sum(socket.session.in_flight for socket in self.sockets)
        return sockets + sum(node.in_flight for node in self._nodes.values()) + len(self._calls)

    async def _status(self) -> dict[str, JSON]:
        return {"edge": self.figures()}

    def figures(self) -> dict[str, JSON]:
        """Return what this worker's clients are and wait for."""
        return {
            "draining": self.draining,
            "sockets": len(self.sockets),
            "topics": sum(len(socket.session.channels) for socket in self.sockets),
            "in_flight": self._in_flight(),
            "queued_frames": sum(len(socket.backlog) for socket in self.sockets),
            "followers": self.fanout.counts(),
            "nodes": len(self._nodes),
            "node_topics": sum(map(len, self._nodes.values())),
        }

    # -- HTTP ------------------------------------------------------------------------------
    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(scope["headers"], receive, self.settings.request_timeout_ms / 1000)
        try:
            status, headers, answer = await self._answer(scope, body)
        except AccessRefused as refused:
            headers = [JSON_TYPE, *refused.headers]
            status, answer = refused.status, orjson.dumps(refused.error.response())
        if body.left:  # its rest would be taken for the next request
            headers = [*headers, (b"connection", b"close")]
        await respond(send, scope["method"], status, headers, answer)

    async def _health(self) -> tuple[int, JSON]:
        """Say whether this worker can commit.

        It needs no token: so it tells no address, and asks Redis at most once a second.
        """
        if self.draining:
            return 503, {"status": "draining"}
        now = asyncio.get_running_loop().time()
        if self._storage_health is None or now >= self._health_until:
            self._health_until = now + HEALTH_S
            self._storage_health = asyncio.create_task(self._ask_storage())
        return await asyncio.shield(self._storage_health)

    async def _ask_storage(self) -> tuple[int, JSON]:
        try:
            await self._journal.routes()
        except BridgeError as error:
            return 503, {"status": error.code, "message": "Redis does not answer"}
        return 200, {"status": "ok"}

    async def _answer(self, scope: Scope, body: Body) -> tuple[int, Headers, bytes]:
        """Return status, headers and body of the answer, or raise AccessRefused."""
        caller = Caller.of(scope["headers"], scope["query_string"])
        path = scope["path"]
        self._gate.check_page(caller)
        if path == "/health":
            status, answer = await self._health()
        elif path.startswith("/admin/"):
            self._gate.check_token(caller)
            status, answer = await self.admin.answer(scope["method"], path, body)
        elif self._ingress is not None and self._ingress.takes(path):
            return await self._call(self._ingress, scope, body)
        elif path in SOCKET_PATHS:
            raise AccessRefused(426, incomplete(missing_headers(scope["headers"])), [UPGRADE])
        else:
            raise AccessRefused(404, _nothing_at(path))
        return status, [JSON_TYPE], orjson.dumps(answer)

    async def _call(
        self, ingress: Ingress, scope: Scope, body: Body
    ) -> tuple[int, Headers, bytes]:
        if self.draining:
            return ingress.refuse(BridgeError("draining", "this worker is stopping"))
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            return await ingress.answer(scope, body.read)
        finally:
            self._calls.discard(task)


def _nothing_at(path: str) -> BridgeError:
    return BridgeError(
        "unknown_topic",
        "nothing is here: sockets are at /socket/websocket",
        expected=SOCKET_PATHS[0],
        actual=path[:100],
    )


def uuid4_of(bits: int) -> str:
    """Return the UUIDv4 made of 128 random bits (RFC 9562, 5.4); `uuid.uuid4` takes 5 times as
    long, and asks the system for each.
    """
    h = f"{bits & ~(0xF << 76) & ~(0x3 << 62) | 0x4 << 76 | 0x2 << 62:032x}"
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
