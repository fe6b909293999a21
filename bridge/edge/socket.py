"""One client: carries out what its session asks for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from bridge.channels.frames import V1, V2
from bridge.channels.requests import Limits, Presence
from bridge.channels.session import (
    CLOSE_SLOW,
    Action,
    Channel,
    Close,
    Dispatch,
    Join,
    Part,
    Push,
    Send,
    Session,
)
from bridge.edge.backlog import Backlog
from bridge.edge.connection import Connection, text_frame
from bridge.edge.contract import Operation
from bridge.edge.fanout import Fanout, Follower, Subscription
from bridge.edge.presence import Presences
from bridge.errors import BridgeError
from bridge.journal.values import Present
from bridge.message import JSON
from bridge.settings import Settings
from bridge.telemetry import Telemetry


class Services(Protocol):
    """What a socket asks of the edge."""

    settings: Settings
    telemetry: Telemetry
    fanout: Fanout
    presence: Presences

    def operation(self, push: Push) -> Operation:
        """Return what a push asks for; raises BridgeError if it may not."""
        ...

    async def dispatch(self, push: Push, timeout_ms: int) -> JSON | BridgeError:
        """Return the reply or the error to answer with; raises nothing."""
        ...

    def ask(self, socket: Socket, push: Push) -> None:
        """Have a query handled; the socket's `answer` is called with what came of it."""
        ...

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work that outlives its caller; a defect in it is counted."""
        ...


@dataclass(slots=True, eq=False)
class _Joined:
    """A channel's place in the fan-out."""

    follower: Follower | None = None
    subscription: Subscription | None = None
    present: Present | None = None
    task: asyncio.Task[None] | None = None


class Socket:
    """Commands of one topic run one after another, in push order; queries run at once."""

    __slots__ = (
        "_connection",
        "_joins",
        "_lanes",
        "_services",
        "backlog",
        "closed",
        "session",
    )

    def __init__(
        self,
        services: Services,
        connection: Connection,
        codec: V1 | V2,
        admit: Callable[[str, str, Presence | None], None],
    ) -> None:
        settings = services.settings
        self._services = services
        self._connection = connection
        self.session = Session(codec, limits_of(settings), admit)
        self.backlog = Backlog(
            connection, settings.max_queue_frames, settings.max_queue_bytes, self._overflowed
        )
        self._joins: dict[Channel, _Joined] = {}
        self._lanes: dict[str, deque[tuple[Push, float]]] | None = None
        self.closed = False
        connection.resumed = self.backlog.flush
        connection.deliver(self.receive)

    def receive(self, data: str | bytes, now: float) -> None:
        """Take one WebSocket message and start what it asks for. Never waits."""
        self._carry_out(self.session.receive(data), now)

    @property
    def heard_at(self) -> float:
        """Say when a frame of any kind came last; one that waits for its turn comes now."""
        connection = self._connection
        busy = connection.transport.busy
        return connection.loop.time() if busy else connection.heard_at

    def drain(self) -> None:
        """Send `phx_error` on each topic; pushes are still answered."""
        self._carry_out(self.session.drain(), 0)

    def hang_up(self, code: int, reason: str) -> None:
        """Close with a code, behind what was written; what waits in the queue is dropped."""
        if not self.closed:
            self._services.telemetry.emit("socket_closed", code=str(code), text=reason)
            self._connection.hang_up(code, reason)
            self.close(left=False)

    def close(self, *, left: bool = True) -> None:
        """Forget the client, who `left` by itself or is sent on.

        Queued commands are dropped; a running one goes on to its commit.
        """
        self.closed = True
        self._lanes = None
        self.backlog.close()
        self._connection.resumed = self._connection.received = None
        for channel in list(self._joins):
            channel.state = "absent"
            self._part(channel, left=left)

    # -- actions ---------------------------------------------------------------------------
    def _carry_out(self, actions: Iterable[Action], now: float) -> None:
        for action in actions:
            if self.closed:
                return
            match action:
                case Dispatch(push):
                    self._dispatch(push, now)
                case Send(frame):
                    self.backlog.send(text_frame(frame))
                case Join(channel, since, presence):
                    self._join(channel, since, presence)
                case Part(channel, left):
                    self._part(channel, left=left)
                case Close(code, reason):
                    self.hang_up(code, reason)

    def _overflowed(self) -> None:
        self.hang_up(CLOSE_SLOW, "too slow: join again with since")

    # -- pushes ----------------------------------------------------------------------------
    def _dispatch(self, push: Push, now: float) -> None:
        try:
            operation = self._services.operation(push)
        except BridgeError as error:
            self._carry_out([self.session.failed(push, error)], now)
            return
        if operation.kind == "query":
            self._services.ask(self, push)
            return
        if self._lanes is None:
            self._lanes = {}
        lane = self._lanes.get(push.channel.topic)
        if lane is not None:
            lane.append((push, now))
            return
        self._lanes[push.channel.topic] = lane = deque([(push, now)])
        self._services.start(self._work(push.channel.topic, lane))

    async def _work(self, topic: str, lane: deque[tuple[Push, float]]) -> None:
        """Handle the commands of one topic until there are none."""
        loop = asyncio.get_running_loop()
        while lane and not self.closed:
            push, arrived = lane[0]
            waited_ms = int((loop.time() - arrived) * 1000)
            timeout_ms = self._services.settings.timeout_ms - waited_ms
            self.answer(push, await self._services.dispatch(push, timeout_ms))
            lane.popleft()
        if self._lanes is not None:
            del self._lanes[topic]

    def answer(self, push: Push, answer: JSON | BridgeError) -> None:
        """Answer a push with its reply or its error; a client that is gone is not told."""
        try:
            if isinstance(answer, BridgeError):
                send = self.session.failed(push, answer)
            else:
                send = self.session.answered(push, answer)
        except TypeError as error:  # no JSON, though it passed its contract: a defect of ours
            self._services.telemetry.emit("defect", where="answer", text=repr(error))
            internal = BridgeError("internal", "a defect of the bridge; it was counted")
            send = self.session.failed(push, internal)
        if not self.closed:
            self.backlog.send(text_frame(send.frame))

    # -- joins -----------------------------------------------------------------------------
    def _join(self, channel: Channel, since: str | None, presence: Presence | None) -> None:
        present = self._services.presence.one(channel.key, presence)
        joined = self._joins[channel] = _Joined(present=present)
        follower = self._services.fanout.running(channel.subsystem)
        if follower is not None and since is None:
            self._joined(channel, follower, {"position": follower.position}, attach=True)
        else:
            joined.task = self._services.start(self._find_position(channel, since))

    async def _find_position(self, channel: Channel, since: str | None) -> None:
        try:
            follower = await self._services.fanout.follower(channel.subsystem)
            gap = since is not None and await follower.has_gap(since)
        except BridgeError as error:
            self._joins.pop(channel, None)
            self._carry_out(self.session.join_failed(channel, error), self.heard_at)
            return
        if since is None or gap:
            response: dict[str, JSON] = {"position": follower.position}
            if gap:
                response["gap"] = True
            self._joined(channel, follower, response, attach=True)
            return
        subscription = self._joined(channel, follower, {"position": since}, attach=False)
        if subscription is not None:
            await follower.catch_up(subscription, since)

    def _joined(
        self, channel: Channel, follower: Follower, response: JSON, *, attach: bool
    ) -> Subscription | None:
        joined = self._joins.get(channel)
        if joined is None:
            return None  # left in the meantime
        subscription = Subscription(channel, self.session.codec, self.backlog, self._expel)
        joined.follower, joined.subscription = follower, subscription
        actions = self.session.joined(channel, response)
        # Attached before anything that was held back is carried out; the reply comes first.
        self._carry_out(actions[:1], self.heard_at)
        if attach and channel in self._joins:
            follower.attach(subscription)
        if channel in self._joins:
            self._services.presence.joined(
                channel.subsystem, channel.key, joined.present, partial(self._show, channel)
            )
        self._carry_out(actions[1:], self.heard_at)
        return subscription

    def _show(self, channel: Channel, state: bytes) -> None:
        if not self.closed:
            self._carry_out(self.session.who_is_there(channel, state), self.heard_at)

    def _part(self, channel: Channel, *, left: bool) -> None:
        joined = self._joins.pop(channel, None)
        if joined is None:
            return
        if joined.task is not None:
            joined.task.cancel()
        if joined.follower is not None and joined.subscription is not None:
            joined.follower.detach(joined.subscription)
        if joined.present is not None and joined.subscription is not None:
            self._services.presence.parted(channel.subsystem, joined.present, left=left)

    def _expel(self, channel: Channel) -> None:
        self._carry_out(self.session.expel(channel), self.heard_at)


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.max_topics, settings.max_in_flight, settings.max_queue_bytes)
