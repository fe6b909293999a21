"""The edge of a Phoenix node, as this worker serves it over their link.

The node is a transport: it hands over what its clients sent, as it came, and sends back what it
is told. Everything is judged here, as for this worker's own sockets. What the node may call:

- `edge.connect {headers, query, subprotocols}`, of a handshake: `ok`, or `refused` with a status;
- `edge.join {topic, channel, topics, frame}`, with how many the socket has, or `{topic, channel,
  since}` to go on: `ok` with the reply; `attached` if it gets what is everyone's from here on;
  `present`, where clients see who is there: by what they see this one, or none;
- `edge.stay {topic, channels}`, of those that go on here: number, `present`, and whether it was
  told who is there;
- `edge.push {topic, socket, frame, id, size, in_flight, in_flight_bytes}`: `ok` with JSON text;
- `edge.leave {topic, channel, left}`, where channel 0 is the topic itself, and `left` is false of
  a client that is sent on; and `edge.close {socket}`;
- `edge.status {headers, query}`, of a page's request: what `/admin/status` answers, or `refused`;
- `edge.http {method, path, query, headers, body}`, of a request that is not the node's to answer:
  `{status, headers, body}`, both bodies in base64;
- `edge.refuse {frame}`, of one that the node cannot read: the head and `error` of its answer.

A frame is `{vsn, text}` or `{vsn, base64}`. Each may answer with an `error`; its code `draining`
means: ask another worker.

Each topic's events go to the node once, as messages `["edge", topic, channel, what, ...]`:

- `event`, its type, position and payload (JSON text), for one channel or, as 0, for everyone's;
- `attached`, a position: the channel has what was before, and gets what is everyone's from here
  on. To a join without `since` the answer is that point: all before its position have left;
- `presence`, who is there (JSON text), for one channel;
- `expel`: it is to join again.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, Protocol

import orjson

from bridge.access import AccessRefused, Caller
from bridge.channels.frames import CODECS, V1, V2, Frame, UnreadableFrame
from bridge.channels.requests import (
    Presence,
    presence_of,
    request_of,
    since_of,
    split_topic,
)
from bridge.channels.session import Channel, Push
from bridge.edge.admin import Admin
from bridge.edge.contract import Operation
from bridge.edge.fanout import Fanout, Follower, body_of
from bridge.edge.outgoing import Outgoing
from bridge.edge.presence import Presences
from bridge.edge.queries import Queries
from bridge.edge.socket import limits_of
from bridge.errors import BridgeError
from bridge.journal.values import Event, Present
from bridge.link.link import Function, Link
from bridge.message import JSON
from bridge.settings import Settings
from bridge.telemetry import Telemetry

EVERYONE = 0  # the channel of events that are everyone's


class Services(Protocol):
    """What the edge of a node asks of the worker's own edge."""

    settings: Settings
    telemetry: Telemetry
    fanout: Fanout
    presence: Presences
    queries: Queries
    admin: Admin
    draining: bool

    async def app(self, scope: Any, receive: Any, send: Any) -> None: ...

    def check(self, path: str, caller: Caller) -> V1 | V2: ...

    def check_admin(self, caller: Caller) -> None: ...

    def admit(self, subsystem: str, key: str, presence: Presence | None) -> None: ...

    def operation(self, push: Push) -> Operation: ...

    async def dispatch(self, push: Push, timeout_ms: int) -> JSON | BridgeError: ...

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...


class NodeEdge:
    """Serve one node's edge until the link is closed; `functions` are what it may call."""

    def __init__(self, services: Services, link: Link) -> None:
        self.in_flight = 0
        self._services = services
        self._limits = limits_of(services.settings)
        self._outgoing = Outgoing(link, services.fanout.turns)
        self._topics: dict[str, Topic] = {}
        self._members: dict[tuple[str, int], Member] = {}
        self._lanes: dict[str, dict[str, asyncio.Future[None]]] = {}
        services.start(self._until_closed(link))

    def functions(self) -> dict[str, Function]:
        return {
            "edge.connect": self._connect,
            "edge.join": self._join,
            "edge.stay": self._stay,
            "edge.push": self._push,
            "edge.leave": self._leave,
            "edge.close": self._close,
            "edge.refuse": self._refuse,
            "edge.status": self._status,
            "edge.http": self._http,
        }

    def __len__(self) -> int:
        return len(self._topics)

    async def _until_closed(self, link: Link) -> None:
        await link.closed.wait()
        self._lanes.clear()
        for topic in self._topics.values():
            topic.leave()
        for member in self._members.values():
            member.leave()
            member.part(left=False)
        self._outgoing.close()

    # -- sockets ---------------------------------------------------------------------------
    def _connect(self, args: list[Any]) -> JSON:
        try:
            self._services.check("/socket/websocket", _caller(args))
        except AccessRefused as refused:
            self._services.telemetry.emit("connection_refused", status=str(refused.status))
            return _refused(refused)
        return {"ok": {}}

    async def _status(self, args: list[Any]) -> JSON:
        """Tell a page what runs, if whoever asks for it may know."""
        try:
            self._services.check_admin(_caller(args))
        except AccessRefused as refused:
            return _refused(refused)
        return {"ok": orjson.dumps(await self._services.admin.status()).decode()}

    async def _http(self, args: list[Any]) -> JSON:
        """Answer a request at the gateway's address that is not the node's to answer."""
        [asked] = args
        headers = [(name.encode(), text.encode("latin-1")) for name, text in asked["headers"]]
        scope = {
            "type": "http",
            "method": asked["method"],
            "path": asked["path"],
            "query_string": asked["query"].encode("latin-1", "replace"),
            "headers": headers,
        }
        answer: dict[str, Any] = {"status": 500, "headers": [], "body": b""}

        async def receive() -> dict[str, Any]:
            body = base64.b64decode(asked["body"])
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer["status"] = message["status"]
                answer["headers"] = [[n.decode(), v.decode()] for n, v in message["headers"]]
            else:
                answer["body"] += message.get("body", b"")

        await self._services.app(scope, receive, send)
        return {**answer, "body": base64.b64encode(answer["body"]).decode()}

    def _refuse(self, args: list[Any]) -> JSON:
        [asked] = args
        try:
            frame = _decode(asked["frame"])
        except UnreadableFrame as bad:
            head: dict[str, JSON] = {"join_ref": bad.join_ref, "ref": bad.ref, "topic": bad.topic}
            return {**head, "error": bad.error.response(), "addressed": bad.addressed}
        error = BridgeError("invalid_frame", "the node could not read this frame")
        head = {"join_ref": frame.join_ref, "ref": frame.ref, "topic": frame.topic}
        return {**head, "error": error.response(), "addressed": True}

    def _close(self, args: list[Any]) -> JSON:
        """Forget a client. Its queued commands are dropped; a running one goes on."""
        [asked] = args
        self._lanes.pop(asked["socket"], None)
        return {"ok": {}}

    # -- joins -----------------------------------------------------------------------------
    async def _join(self, args: list[Any]) -> JSON:
        [asked] = args
        topic, channel = asked["topic"], asked["channel"]
        try:
            if self._services.draining:
                raise _draining()
            subsystem, key = split_topic(topic)
            presence = None
            if "frame" in asked:
                payload = _decode(asked["frame"]).payload
                since, presence = since_of(payload), presence_of(payload)
                self._limits.check_topics(asked["topics"])
            else:
                since = asked["since"]
            self._services.admit(subsystem, key, presence)
            member = self._member(topic, channel)
            answer = await self._start(member, since)
            if "frame" in asked and self.presence.covers(subsystem):
                answer["present"] = self._enter(member, presence)
            return answer
        except UnreadableFrame as bad:
            return {"error": bad.error.response()}
        except BridgeError as error:
            self._members.pop((topic, channel), None)
            return {"error": error.response()}

    def _member(self, topic: str, number: int) -> Member:
        member = Member(self, Channel(topic, *split_topic(topic), None, None, "joined"), number)
        if (older := self._members.get((topic, number))) is not None:
            member.present = older.present
        self._members[topic, number] = member
        return member

    def _enter(self, member: Member, presence: Presence | None) -> JSON:
        """Have a channel told who is there, and others of it; unless it left meanwhile."""
        subsystem, key = member.channel.subsystem, member.channel.key
        if member.channel.state != "joined":
            return None
        member.present = one = self.presence.one(key, presence)
        self.presence.joined(subsystem, key, one, member.show)
        return one and [one.ref, one.id, one.meta]

    def _stay(self, args: list[Any]) -> JSON:
        """Keep the leases of channels that another worker kept before."""
        [asked] = args
        subsystem, key = split_topic(asked["topic"])
        try:
            self._services.admit(subsystem, key, None)
        except BridgeError as error:
            return {"error": error.response()}
        for number, present, shown in asked["channels"]:
            member = self._member(asked["topic"], number)
            if present is not None:
                member.present = Present(key, *present)
                self.presence.stays(subsystem, member.present)
            if not shown:
                self.presence.joined(subsystem, key, None, member.show)
        return {"ok": {}}

    async def _start(self, member: Member, since: str | None) -> dict[str, JSON]:
        """Find the position to start from, and begin to follow."""
        follower = await self._services.fanout.follower(member.channel.subsystem)
        gap = since is not None and await follower.has_gap(since)
        if member.number == EVERYONE and not follower.shared:
            gap = True  # what went to each of its clients was theirs alone
        if since is not None and not gap:
            self._services.start(follower.catch_up(member, since))
            return {"ok": {"position": since}, "attached": False}
        await self._outgoing.emptied()
        if member.channel.state == "joined":
            member.attach(follower, answered=True)
        response: dict[str, JSON] = {"position": follower.position}
        return {"ok": response | ({"gap": True} if gap else {}), "attached": True}

    def attached(self, member: Member, follower: Follower) -> None:
        """Have the node follow the member's topic, if it does not yet."""
        channel = member.channel
        if channel.topic not in self._topics:
            self._topics[channel.topic] = Topic(channel, follower, self._outgoing)

    def _leave(self, args: list[Any]) -> JSON:
        [asked] = args
        topic, channel = asked["topic"], asked["channel"]
        if channel == EVERYONE and (followed := self._topics.pop(topic, None)) is not None:
            followed.leave()
        if (member := self._members.pop((topic, channel), None)) is not None:
            member.leave()
            member.part(left=asked.get("left", True))
        return {"ok": {}}

    # -- pushes ----------------------------------------------------------------------------
    def _push(self, args: list[Any]) -> Awaitable[JSON] | JSON:
        """Start what a push asks for: pushes of a socket on a topic in the order they come."""
        [asked] = args
        topic, size = asked["topic"], asked["size"]
        try:
            if self._services.draining:
                raise _draining()
            busy = self._limits.busy(asked["in_flight"], asked["in_flight_bytes"], size)
            if busy is not None:
                raise busy
            frame = _decode(asked["frame"])
            request = request_of(frame.event, frame.payload)
            channel = Channel(topic, *split_topic(topic), None, None, "joined")
            push = Push.of(channel, frame.ref, request, size)
            operation = self._services.operation(push)
        except UnreadableFrame as bad:
            return {"error": bad.error.response()}
        except BridgeError as error:
            return {"error": error.response()}
        answer = Answer()
        if operation.kind == "query":
            self._services.queries.ask(answer, push)
        else:
            push = push._replace(message_id=push.message_id or asked["id"])
            self._services.start(self._command(asked["socket"], push, answer))
        return self._answered(answer)

    async def _command(self, socket: str, push: Push, answer: Answer) -> None:
        loop = asyncio.get_running_loop()
        arrived, lanes = loop.time(), self._lanes.setdefault(socket, {})
        topic, done = push.channel.topic, loop.create_future()
        before, lanes[topic] = lanes.get(topic), done
        try:
            if before is not None:
                await before
            if self._lanes.get(socket) is not lanes:  # the client is gone
                answer.answer(push, BridgeError("internal", "the socket was closed"))
                return
            waited_ms = int((loop.time() - arrived) * 1000)
            left_ms = self._services.settings.timeout_ms - waited_ms
            answer.answer(push, await self._services.dispatch(push, left_ms))
        finally:
            done.set_result(None)
            if lanes.get(topic) is done:
                del lanes[topic]
            if not lanes and self._lanes.get(socket) is lanes:
                del self._lanes[socket]

    async def _answered(self, answer: Answer) -> JSON:
        self.in_flight += 1
        try:
            came = await answer.future
        finally:
            self.in_flight -= 1
        if isinstance(came, BridgeError):
            return {"error": came.response()}
        try:
            return {"ok": orjson.dumps(came).decode()}
        except TypeError as error:  # no JSON, though it passed its contract: a defect of ours
            self._services.telemetry.emit("defect", where="answer", text=repr(error))
            return {"error": BridgeError("internal", "a defect of the bridge").response()}

    # -- what members need -----------------------------------------------------------------
    @property
    def outgoing(self) -> Outgoing:
        return self._outgoing

    @property
    def presence(self) -> Presences:
        return self._services.presence


class Answer:
    """Who asked: gets one answer."""

    def __init__(self) -> None:
        self.future: asyncio.Future[JSON | BridgeError] = (
            asyncio.get_running_loop().create_future()
        )

    def answer(self, _push: Push, answer: JSON | BridgeError) -> None:
        if not self.future.done():
            self.future.set_result(answer)


class Member:
    """One channel of the node, or, as number 0, all that a dead worker served on the topic."""

    def __init__(self, edge: NodeEdge, channel: Channel, number: int) -> None:
        self.channel = channel
        self.number = number
        self.present: Present | None = None
        self._edge = edge
        self._feed: Follower | None = None

    @property
    def backlog(self) -> Outgoing:
        return self._edge.outgoing

    @property
    def expel(self) -> Callable[[Channel], None]:
        return lambda channel: self._put("expel")

    def push(self, event: Event) -> None:
        self._put("event", event.type, event.position, _text(event))

    def attach(self, follower: Follower, *, answered: bool = False) -> None:
        """Follow what is everyone's; `answered`: the join's answer tells the node from where."""
        if not follower.shared:
            self._feed = follower
            follower.attach(self)  # type: ignore[arg-type] # a feed takes any subscriber
        else:
            self._edge.attached(self, follower)
        if not answered:
            self._put("attached", follower.position)

    def leave(self) -> None:
        self.channel.state = "absent"
        if self._feed is not None:
            self._feed.detach(self)  # type: ignore[arg-type] # as above

    def show(self, state: bytes) -> None:
        if self.channel.state == "joined":
            self._put("presence", state.decode())

    def part(self, *, left: bool) -> None:
        if self.present is not None:
            self._edge.presence.parted(self.channel.subsystem, self.present, left=left)

    def _put(self, kind: str, *more: str) -> None:
        self._edge.outgoing.put(["edge", self.channel.topic, self.number, kind, *more])


class Topic:
    """A topic that the node follows: each event goes there once."""

    def __init__(self, channel: Channel, follower: Follower, outgoing: Outgoing) -> None:
        self._topic = channel.topic
        self._key = channel.key
        self._follower = follower
        self._outgoing = outgoing
        follower.add(channel.key, self)

    def take(self, events: list[Event]) -> None:
        for event in events:
            what = ["event", event.type, event.position, _text(event)]
            self._outgoing.put(["edge", self._topic, EVERYONE, *what])

    def lose(self) -> None:
        self._outgoing.put(["edge", self._topic, EVERYONE, "expel"])

    def leave(self) -> None:
        self._follower.remove(self._key, self)


def _caller(args: list[Any]) -> Caller:
    [asked] = args
    headers = [(name.encode(), text.encode("latin-1")) for name, text in asked["headers"]]
    query = asked["query"].encode("latin-1", "replace")
    return Caller.of(headers, query, asked.get("subprotocols", ()))


def _refused(refused: AccessRefused) -> JSON:
    return {"refused": {"status": refused.status, "error": refused.error.response()}}


def _decode(frame: dict[str, Any]) -> Frame:
    codec = CODECS[frame["vsn"][0]]
    if "base64" in frame:
        return codec.decode_binary(base64.b64decode(frame["base64"]))
    return codec.decode_text(frame["text"])


def _text(event: Event) -> str:
    return orjson.dumps(body_of(event)).decode()


def _draining() -> BridgeError:
    return BridgeError("draining", "this worker is stopping: ask another one")
