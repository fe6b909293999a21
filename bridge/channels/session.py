"""The channels of one socket: what each frame means, and what to answer. No I/O here.

Feed it frames and the outcomes of what it asked for; carry out the actions it returns, in order.
The table at the end says what each event does in each state of its topic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import orjson

from bridge.channels.frames import V1, V2, Frame, Ref, UnreadableFrame
from bridge.channels.requests import (
    Limits,
    Presence,
    Request,
    presence_of,
    request_of,
    since_of,
    split_topic,
)
from bridge.errors import BridgeError
from bridge.message import JSON, RuntimeName

UNREADABLE_IN_A_ROW = 10

# Close codes of ours; 1009 (too large) and 1007 (not UTF-8) come from the WebSocket layer.
CLOSE_BINARY = 1003
CLOSE_UNREADABLE = 1008
CLOSE_DRAINED = 1012
CLOSE_SLOW = 1013
CLOSE_IDLE = 4408

State = Literal["absent", "joining", "joined"]


@dataclass(slots=True, eq=False)
class Channel:
    """One join of one topic. Identity matters: a rejoin makes another channel."""

    topic: str
    subsystem: str
    key: str
    join_ref: Ref
    ref: Ref
    state: State = "joining"
    held: list[tuple[Frame, int]] | None = None  # frames that came before the join was answered
    replaces: Channel | None = None  # closed by this join, and told so behind its answer

    @property
    def name(self) -> Ref:
        """What replies carry as join_ref: as in Phoenix, of a join without one its ref."""
        return self.ref if self.join_ref is None else self.join_ref

    def is_of(self, frame: Frame) -> bool:
        """Say whether a frame belongs to this join, not to an older one of the topic."""
        return frame.join_ref is None or frame.join_ref == self.join_ref


class Push(NamedTuple):
    """A client's message to an operation, to be answered once."""

    channel: Channel
    ref: Ref
    operation: str
    request: JSON
    message_id: str  # "" if the client gave none
    runtime: RuntimeName | None  # asked by name, whoever owns the subsystem
    binary: bool
    size: int

    @classmethod
    def of(cls, channel: Channel, ref: Ref, request: Request, size: int) -> Push:
        return cls(channel, ref, *request, size)


class Send(NamedTuple):
    """Write this text frame."""

    frame: bytes


class Join(NamedTuple):
    """Find the position to start from, then call `joined` or `join_failed`."""

    channel: Channel
    since: str | None
    presence: Presence | None


class Part(NamedTuple):
    """Stop sending events to this channel; `left`: by the client's own will."""

    channel: Channel
    left: bool = True


class Dispatch(NamedTuple):
    """Have it handled, then call `answered` or `failed`."""

    push: Push


class Close(NamedTuple):
    code: int
    reason: str


Action = Send | Join | Part | Dispatch | Close
Admit = Callable[[str, str, Presence | None], None]


@dataclass(slots=True, eq=False)
class Session:
    """One socket. `admit(subsystem, key, presence)` raises BridgeError for a topic that does not
    exist, or where nobody is seen.
    """

    codec: V1 | V2
    limits: Limits
    admit: Admit
    in_flight: int = 0
    in_flight_bytes: int = 0
    phase: Literal["open", "draining", "closing"] = "open"
    channels: dict[str, Channel] = field(default_factory=dict)
    _unreadable: int = 0

    def receive(self, data: str | bytes) -> list[Action]:
        """Take one WebSocket message."""
        try:
            if isinstance(data, str):
                frame = self.codec.decode_text(data)
            else:
                frame = self.codec.decode_binary(data)
        except UnreadableFrame as bad:
            if bad.addressed:  # a client of ours, told by its ref what was wrong
                self._unreadable = 0
                return [self._error(bad.join_ref, bad.ref, bad.topic, bad.error)]
            return self._refuse_unreadable(bad, binary=isinstance(data, bytes))
        self._unreadable = 0
        return self._handle(frame, len(data))

    def joined(self, channel: Channel, response: JSON) -> list[Action]:
        """Answer a join, then what was held back behind it."""
        if channel.state != "joining":
            return []
        channel.state = "joined"
        reply = self._reply(channel.join_ref, channel.ref, channel.topic, "ok", response)
        return [reply, *self._replaced(channel), *self._release(channel)]

    def join_failed(self, channel: Channel, error: BridgeError) -> list[Action]:
        if channel.state != "joining":
            return []
        channel.state = "absent"
        del self.channels[channel.topic]
        reply = self._error(channel.join_ref, channel.ref, channel.topic, error)
        return [reply, *self._replaced(channel), *self._release(channel)]

    def answered(self, push: Push, response: JSON) -> Send:
        """Answer a push. The response is encoded as it is; it was checked where it was made."""
        channel = push.channel
        send = self._reply(channel.name, push.ref, channel.topic, "ok", response)
        self._done(push)
        return send

    def failed(self, push: Push, error: BridgeError) -> Send:
        """Answer a push with an error. Not after `answered`, unless that raised."""
        self._done(push)
        return self._error(push.channel.name, push.ref, push.channel.topic, error)

    def expel(self, channel: Channel) -> list[Action]:
        """End a channel from this side with `phx_error`: the client joins again."""
        if self.channels.get(channel.topic) is not channel:
            return []
        actions = [*self._drop(channel, left=False), self._event(channel, "phx_error")]
        return actions + self._release(channel)

    def who_is_there(self, channel: Channel, state: bytes) -> list[Action]:
        """Tell a channel, unless it is gone; `state` is JSON text."""
        if channel.state != "joined":
            return []
        payload = orjson.Fragment(state)
        frame = Frame(channel.name, None, channel.topic, "presence_state", payload)
        return [Send(self.codec.encode(frame))]

    def drain(self) -> list[Action]:
        """Tell each joined topic `phx_error`, and refuse joins from now on.

        phoenix.js then keeps new pushes back until it has joined again, so none is lost when the
        socket closes. Pushes that still come are answered until `close`.
        """
        self.phase = "draining"
        return [self._event(channel, "phx_error") for channel in self.channels.values()]

    def close(self) -> None:
        """Refuse pushes too, from now on."""
        self.phase = "closing"

    # -- frames ----------------------------------------------------------------------------
    def _handle(self, frame: Frame, size: int) -> list[Action]:
        if frame.topic == "phoenix" and frame.event == "heartbeat":
            return [self._reply(None, frame.ref, "phoenix", "ok", {})]
        channel = self.channels.get(frame.topic)
        state: State = channel.state if channel is not None else "absent"
        return _TABLE[state, _EVENTS.get(frame.event, "push")](self, channel, frame, size)

    def _join(self, _channel: Channel | None, frame: Frame, _size: int) -> list[Action]:
        try:
            if self.phase != "open":
                raise BridgeError("draining", "this worker is stopping: connect again")
            subsystem, key = split_topic(frame.topic)
            since, presence = since_of(frame.payload), presence_of(frame.payload)
            self.admit(subsystem, key, presence)
            self.limits.check_topics(len(self.channels))
        except BridgeError as error:
            return [self._error(frame.join_ref, frame.ref, frame.topic, error)]
        channel = Channel(frame.topic, subsystem, key, frame.join_ref, frame.ref)
        self.channels[frame.topic] = channel
        return [Join(channel, since, presence)]

    def _rejoin(self, channel: Channel | None, frame: Frame, size: int) -> list[Action]:
        """Join again: the older join is closed at once, and told so behind the new one's answer.

        Clients that know joins by their topic alone would else close the new one.
        """
        assert channel is not None
        [part] = self._drop(channel)
        [answer] = self._join(None, frame, size)
        if isinstance(answer, Join):
            answer.channel.replaces = channel
            return [part, answer]
        return [part, answer, self._event(channel, "phx_close")]

    def _leave(self, channel: Channel | None, frame: Frame, _size: int) -> list[Action]:
        assert channel is not None
        if not channel.is_of(frame):
            return []  # the older join was told that it is closed
        return [
            *self._drop(channel),
            self._reply(channel.name, frame.ref, frame.topic, "ok", {}),
            self._event(channel, "phx_close"),
        ]

    def _leave_absent(self, _channel: Channel | None, frame: Frame, _size: int) -> list[Action]:
        return [self._reply(frame.join_ref, frame.ref, frame.topic, "ok", {})]

    def _unmatched(self, _channel: Channel | None, frame: Frame, _size: int) -> list[Action]:
        error = BridgeError(
            "unmatched_topic",
            f"{frame.topic} is not joined on this socket: join it first",
            expected="a joined topic",
            actual=frame.topic,
        )
        return [self._error(None, frame.ref, frame.topic, error)]

    def _hold(self, channel: Channel | None, frame: Frame, size: int) -> list[Action]:
        """Keep whatever comes until the join is answered: it counts as a push until then."""
        assert channel is not None
        if (busy := self._busy(size)) is not None:
            return [self._error(frame.join_ref, frame.ref, frame.topic, busy)]
        self._begin(size)
        if channel.held is None:
            channel.held = []
        channel.held.append((frame, size))
        return []

    def _push(self, channel: Channel | None, frame: Frame, size: int) -> list[Action]:
        assert channel is not None
        if not channel.is_of(frame):
            return []
        try:
            if (busy := self._busy(size)) is not None:
                raise busy
            push = Push.of(channel, frame.ref, request_of(frame.event, frame.payload), size)
        except BridgeError as error:
            return [self._error(channel.name, frame.ref, frame.topic, error)]
        self._begin(size)
        return [Dispatch(push)]

    # -- what they share -------------------------------------------------------------------
    def _busy(self, size: int) -> BridgeError | None:
        if self.phase == "closing":
            return BridgeError("draining", "this worker is stopping: connect again")
        return self.limits.busy(self.in_flight, self.in_flight_bytes, size)

    def _begin(self, size: int) -> None:
        self.in_flight += 1
        self.in_flight_bytes += size

    def _done(self, push: Push) -> None:
        self.in_flight -= 1
        self.in_flight_bytes -= push.size

    def _drop(self, channel: Channel, *, left: bool = True) -> list[Action]:
        channel.state = "absent"
        del self.channels[channel.topic]
        return [Part(channel, left)]

    def _release(self, channel: Channel) -> list[Action]:
        """Handle the frames held back, in order, as if they came now."""
        held, channel.held = channel.held or [], None
        actions: list[Action] = []
        for frame, size in held:
            self.in_flight -= 1
            self.in_flight_bytes -= size
            actions += self._handle(frame, size)
        return actions

    def _replaced(self, channel: Channel) -> list[Action]:
        older, channel.replaces = channel.replaces, None
        return [self._event(older, "phx_close")] if older is not None else []

    def _refuse_unreadable(self, bad: UnreadableFrame, *, binary: bool) -> list[Action]:
        self._unreadable += 1
        actions: list[Action] = [self._error(bad.join_ref, bad.ref, bad.topic, bad.error)]
        if self._unreadable >= UNREADABLE_IN_A_ROW:
            code = CLOSE_BINARY if binary else CLOSE_UNREADABLE
            actions.append(Close(code, f"{self._unreadable} unreadable frames in a row"))
        return actions

    def _reply(self, join_ref: Ref, ref: Ref, topic: str, status: str, response: JSON) -> Send:
        payload = {"status": status, "response": response}
        return Send(self.codec.encode(Frame(join_ref, ref, topic, "phx_reply", payload)))

    def _error(self, join_ref: Ref, ref: Ref, topic: str, error: BridgeError) -> Send:
        response = error.response()
        if error.code == "unmatched_topic":
            response["reason"] = "unmatched topic"  # what Phoenix itself answers
        return self._reply(join_ref, ref, topic, "error", response)

    def _event(self, channel: Channel, event: str) -> Send:
        # As in Phoenix, phx_close and phx_error carry the join's join_ref as their ref. Of a join
        # without one that is null there, and clients of 1.0.0 close every join of the topic.
        ref = channel.name
        return Send(self.codec.encode(Frame(ref, ref, channel.topic, event, {})))


_Handler = Callable[[Session, Channel | None, Frame, int], list[Action]]
_EVENTS = {"phx_join": "join", "phx_leave": "leave"}

# (state of the topic, event) -> what happens. Drawn in docs/protocol.md.
_TABLE: dict[tuple[State, str], _Handler] = {
    ("absent", "join"): Session._join,
    ("absent", "leave"): Session._leave_absent,
    ("absent", "push"): Session._unmatched,
    ("joining", "join"): Session._hold,
    ("joining", "leave"): Session._hold,
    ("joining", "push"): Session._hold,
    ("joined", "join"): Session._rejoin,
    ("joined", "leave"): Session._leave,
    ("joined", "push"): Session._push,
}
