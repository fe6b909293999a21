"""One side of a link: who waits for which answer, what may run, what is queued. No I/O here.

Feed it frames and calls, empty it with `take`. Times are milliseconds of the caller's clock;
a waiter is whatever the caller wants back when its call is settled.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from bridge.errors import MAX_TEXT
from bridge.link.errors import BadMessage, BadValue, LinkBusy, LinkClosed, LinkError, LinkFault
from bridge.link.framing import FrameReader, FrameWriter
from bridge.link.messages import (
    JSON_ONLY,
    MODULE,
    Call,
    Cast,
    Failure,
    Malformed,
    Message,
    Printed,
    Result,
    Terms,
    decode_message,
    encode_message,
)
from bridge.link.terms import VERSION, Atom, Limits, Opaque

LANGUAGE: Final = Atom("python")
PONG: Final = Atom("pong")
# The classes of `{'e', Id, {python, Class, Text, []}}`: a closed list, so that no peer's atom
# table grows with the names of our exceptions.
FailureClass = Literal[
    "bad_term", "bad_value", "crashed", "no_hello", "overloaded", "unknown_function"
]


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How much one link may hold.

    `max_in_flight` counts each direction by itself. Calls are refused above `max_queued_bytes`;
    answers are replaced by short errors, and above twice as much the peer is given up.
    """

    max_frame_bytes: int = 4_194_304
    max_in_flight: int = 1024
    max_queued_bytes: int = 16_777_216


@dataclass(slots=True)
class Counters:
    """What was asked, dropped or refused since the link came up.

    `malformed` are frames of which nothing came, or a failure of the call they name.
    `lost_failures` are failures the peer reported without an id, `failed_casts` our own.
    """

    calls: int = 0
    timeouts: int = 0
    late_answers: int = 0
    unknown_answers: int = 0
    refused_calls: int = 0
    malformed: int = 0
    lost_failures: int = 0
    printed: int = 0
    failed_casts: int = 0


@dataclass(slots=True)
class Settled:
    """A call's end: `error` is None when `value` is the result. Not frozen for its price."""

    waiter: Any
    value: Any
    error: LinkError | None


Event = Call | Cast | Settled


class Session:
    """Pair calls with answers. Everything that may be queued is bounded.

    Once `hello` is among the functions, nothing else passes before a call of it was answered.
    """

    def __init__(
        self,
        limits: SessionLimits,
        packet: int = 4,
        context: str = "N",
        terms: Terms = JSON_ONLY,
    ) -> None:
        self.counters = Counters()
        self.running = 0
        self.queued_bytes = 0
        self.greeted = True
        self._functions: frozenset[str] = frozenset()
        self._limits = limits
        self._terms = terms
        self._term_limits = Limits(max_bytes=limits.max_frame_bytes)
        self._context = context
        self._reader = FrameReader(limits.max_frame_bytes, packet)
        self._writer = FrameWriter(limits.max_frame_bytes, packet)
        self._queue: list[bytes] = []
        self._waiting: dict[int, Any] = {}
        self._deadlines: list[tuple[int, int]] = []
        self._last_id = 0

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def register(self, functions: Iterable[str]) -> None:
        """Name what the peer may call, from now on; `ping` is always answered."""
        known = self._functions
        self._functions = known | frozenset(functions)
        if "hello" in self._functions and "hello" not in known:
            self.greeted = False

    # -- our calls ---------------------------------------------------------------------------

    def call(
        self,
        function: str,
        args: list[Any],
        deadline_ms: int,
        waiter: Any,
        module: str = MODULE,
    ) -> int:
        """Queue a call and return its id. Raises LinkBusy, LinkClosed or BadValue; then nothing
        was queued."""
        if not self.greeted:
            raise LinkClosed("the peer has not said hello")
        if len(self._waiting) >= self._limits.max_in_flight:
            raise LinkBusy("unanswered calls", len(self._waiting), self._limits.max_in_flight)
        if self.queued_bytes > self._limits.max_queued_bytes:
            raise LinkBusy("unsent bytes", self.queued_bytes, self._limits.max_queued_bytes)
        id = self._start(module, function, args, waiter)
        heapq.heappush(self._deadlines, (deadline_ms, id))
        if len(self._deadlines) > 2 * len(self._waiting) + 1024:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._waiting]
            heapq.heapify(self._deadlines)
        self.counters.calls += 1
        return id

    def ping(self, waiter: Any) -> None:
        """Queue a call of `ping` that no limit holds back and no deadline ends."""
        self._start(MODULE, "ping", [], waiter)

    def _start(self, module: str, function: str, args: list[Any], waiter: Any) -> int:
        id = self._last_id + 1
        self._put(Call(id, module, function, args, self._context))
        self._last_id = id
        self._waiting[id] = waiter
        return id

    def cast(self, message: Any, to: Atom | Opaque | None = None) -> None:
        """Queue a message that has no answer. Raises LinkBusy or BadValue."""
        if self.queued_bytes > self._limits.max_queued_bytes:
            raise LinkBusy("unsent bytes", self.queued_bytes, self._limits.max_queued_bytes)
        self._put(Cast(message, to))

    def forget(self, id: int) -> None:
        """Drop a call whose caller has gone; its answer will count as late."""
        self._waiting.pop(id, None)

    def next_deadline_ms(self) -> int | None:
        """Return when `expire` has something to do at the earliest."""
        while self._deadlines and self._deadlines[0][1] not in self._waiting:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def expire(self, now_ms: int) -> list[Any]:
        """Drop the calls whose deadline is over and return their waiters."""
        waiters = []
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            _, id = heapq.heappop(self._deadlines)
            if id in self._waiting:
                waiters.append(self._waiting.pop(id))
        self.counters.timeouts += len(waiters)
        return waiters

    def close(self) -> list[Any]:
        """Drop every call and return the waiters; nothing is queued any more."""
        waiters = list(self._waiting.values())
        self._waiting.clear()
        self._deadlines.clear()
        self._queue.clear()
        return waiters

    # -- what the peer sends -----------------------------------------------------------------

    def receive(self, data: bytes, most: int = 0) -> Iterator[Event]:
        """Take bytes of the stream; yield what the caller must act on.

        With `most` it stops after so many frames; while there are `more`, go on with no bytes.

        A yielded Call is to be run and ended by `answer` or `fail`. A frame that is bad by
        itself costs at most the call it names. Raises BadFrame or BadMessage when the stream is
        beyond repair, LinkBusy when the peer calls but does not read: close the link then.
        """
        self._reader.feed(data)
        waiting = self._waiting
        left = most
        while frames := self._reader.take(left):
            left -= len(frames)
            for frame in frames:
                try:
                    message = decode_message(frame, self._term_limits, self._terms)
                except BadMessage:
                    # A term of another kind is its own fault; no term at all, and the stream
                    # has slipped: a length was read out of a text.
                    if frame[:1] != VERSION:
                        raise
                    self.counters.malformed += 1
                    continue
                if isinstance(message, Result):
                    waiter = waiting.pop(message.id, None)
                    if waiter is None:
                        self._unwanted(message.id)
                    else:
                        yield Settled(waiter, message.value, None)
                elif isinstance(message, Call):
                    if self._admit(message):
                        yield message
                elif isinstance(message, Cast):
                    yield message
                elif isinstance(message, Printed):
                    self.counters.printed += 1
                else:
                    yield from self._failed(message)
            if left == 0:
                return

    @property
    def more(self) -> bool:
        """Say whether frames are here that were not taken yet."""
        return self._reader.ready

    def _admit(self, call: Call) -> bool:
        name = call.name
        if name not in self._functions and name != "ping":
            text = f"{call.module}:{call.function} is not registered"
            self._refuse(call.id, "unknown_function", text)
        elif name == "ping":
            self._put_answer(Result(call.id, PONG))
        elif not self.greeted and name != "hello":
            self._refuse(call.id, "no_hello", f"{name} before hello was answered")
        elif self.running >= self._limits.max_in_flight:
            limit = self._limits.max_in_flight
            self._refuse(call.id, "overloaded", f"{self.running} calls run, limit is {limit}")
        else:
            self.running += 1
            return True
        return False

    def _failed(self, message: Failure | Malformed) -> Iterator[Event]:
        if isinstance(message, Malformed):
            self.counters.malformed += 1
            if message.kind == "C":
                self._refuse(message.id, "bad_term", message.error.message)
                return
            error: LinkError = message.error
        else:
            error = LinkFault(message.error)
        if message.id is None:
            self.counters.lost_failures += 1
        elif message.id in self._waiting:
            yield Settled(self._waiting.pop(message.id), None, error)
        else:
            self._unwanted(message.id)

    def _unwanted(self, id: int) -> None:
        if 0 < id <= self._last_id:
            self.counters.late_answers += 1
        else:
            self.counters.unknown_answers += 1

    # -- our answers -------------------------------------------------------------------------

    def answer(self, call: Call, value: Any) -> None:
        """Queue a call's result; a value that is no term for a link becomes a failure.

        Raises LinkBusy when the peer must be given up.
        """
        self.running -= 1
        try:
            self._put_answer(Result(call.id, value))
        except BadValue as error:
            self._put_failure(call.id, "bad_value", error.message)
        else:
            if call.name == "hello":
                self.greeted = True

    def fail(self, call: Call, text: str) -> None:
        """Queue the failure of a call that ran. Raises LinkBusy as `answer` does."""
        self.running -= 1
        self._put_failure(call.id, "crashed", text)

    def _refuse(self, id: int, kind: FailureClass, text: str) -> None:
        self.counters.refused_calls += 1
        self._put_failure(id, kind, text)

    def _put_failure(self, id: int, kind: FailureClass, text: str) -> None:
        text = text[:MAX_TEXT].encode(errors="replace").decode()
        failure = Failure(id, (LANGUAGE, Atom(kind), text, []))
        try:
            self._put_answer(failure)
        except BadValue:  # a small packet: its text is cut to fit
            failure.error = (LANGUAGE, Atom(kind), "", [])
            room = self._writer.max_bytes - len(encode_message(failure))
            cut = text.encode()[: max(room, 0)].decode(errors="ignore")
            failure.error = (LANGUAGE, Atom(kind), cut, [])
            self._put_answer(failure)

    def _put_answer(self, answer: Result | Failure) -> None:
        limit = self._limits.max_queued_bytes
        if self.queued_bytes > 2 * limit:
            raise LinkBusy("unsent bytes", self.queued_bytes, 2 * limit)
        if self.queued_bytes > limit and isinstance(answer, Result):
            self._refuse(answer.id, "overloaded", "answers wait unread, this one was dropped")
        else:
            self._put(answer)

    # -- the queue ---------------------------------------------------------------------------

    def _put(self, message: Message) -> None:
        frame = self._writer.frame(encode_message(message, self._terms))
        self.queued_bytes += len(frame)
        self._queue.append(frame)

    def take(self) -> bytes:
        """Return everything queued as one piece, to be written; report it with `sent`."""
        data = b"".join(self._queue)
        self._queue.clear()
        return data

    def sent(self, count: int) -> None:
        """Learn that `count` bytes of what was taken have left."""
        self.queued_bytes -= count
