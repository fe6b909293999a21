"""A link to a peer, on asyncio: calls both ways, deadlines, the peer's health."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable, iscoroutinefunction
from typing import Any

from bridge.errors import text_of
from bridge.link.errors import LinkClosed, LinkError, LinkTimeout
from bridge.link.messages import JSON_ONLY, MODULE, Call, Terms
from bridge.link.session import Counters, Session, SessionLimits, Settled
from bridge.link.terms import Atom, Opaque
from bridge.link.transport import Transport
from bridge.patience import Due
from bridge.turns import Turns

# A plain function is answered in the same turn; one that waits is a coroutine function.
Function = Callable[[list[Any]], Awaitable[Any] | Any]

PING_MS = 1000
TURN_FRAMES = 16
# Pings without an answer before the peer counts as stalled: 3 s, as it is asked every second.
STALLED_PINGS = 3
BRIDGE = Atom(MODULE)  # whom a message is for that names nobody


class Link:
    """Call the functions of a peer, and answer its calls of ours.

    Frames of one turn of the event loop leave in one write. A peer that does not read delays
    nobody: calls are refused with LinkBusy when the queue is full.
    """

    def __init__(
        self,
        transport: Transport,
        limits: SessionLimits | None = None,
        *,
        packet: int = 4,
        terms: Terms = JSON_ONLY,
        on_cast: Callable[[Any], None] | None = None,
    ) -> None:
        self.closed = asyncio.Event()
        self.close_reason = ""
        self.hello: Any = None
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._session = Session(limits or SessionLimits(), packet, terms=terms)
        self._functions: dict[str, Function] = {}
        self._in_threads: set[str] = set()
        self._on_cast = on_cast
        self._tasks: set[asyncio.Task[Any] | None] = set()
        self._flush_due = False
        self._unwritten = 0
        self._drained: list[asyncio.Future[None]] = []
        self._turns = Turns()
        self._timer: Due | None = None
        self._timer_ms = 0
        self._ping_unanswered = False
        self._missed_pings = 0
        self._pinger = self._loop.call_later(PING_MS / 1000, self._ping)

    def register(self, functions: Mapping[str, Function], *, threads: bool = False) -> None:
        """Let the peer call these, and nothing else but `ping`, which is answered here.

        A name is that of a function of the module `bridge`, or `module:function`. With `threads`
        plain functions run in threads, where they hold up nothing. With a `hello` among them
        nothing passes in either direction before it returned.
        """
        self._functions.update(functions)
        if threads:
            plain = (name for name, f in functions.items() if not iscoroutinefunction(f))
            self._in_threads.update(plain)
        self._session.register(functions)

    def start(self) -> None:
        """Begin to read; register functions first."""
        self._transport.start(self)

    # -- what a user sees ----------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return not self.closed.is_set()

    @property
    def stalled(self) -> bool:
        """Say whether the peer left pings unanswered for three seconds, and still does."""
        return self._missed_pings >= STALLED_PINGS

    @property
    def counters(self) -> Counters:
        return self._session.counters

    @property
    def in_flight(self) -> int:
        return self._session.in_flight

    @property
    def queued_bytes(self) -> int:
        return self._session.queued_bytes

    async def call(
        self, function: str, args: list[Any], timeout_ms: int, *, module: str = MODULE
    ) -> Any:
        """Return what the peer's function returns.

        Raises LinkClosed, LinkTimeout, LinkBusy (nothing was sent), LinkFault (it failed there),
        BadValue (the arguments are not JSON) or BadTerm (the result is not).
        """
        if not self.alive:
            raise LinkClosed(self.close_reason)
        deadline_ms = self._now_ms() + timeout_ms
        future: asyncio.Future[Any] = self._loop.create_future()
        waiter = future, function, timeout_ms
        id = self._session.call(function, args, deadline_ms, waiter, module)
        if self._timer is None or deadline_ms < self._timer_ms:
            self._arm(deadline_ms)
        self._flush_soon()
        try:
            return await future
        finally:  # also when the caller was cancelled, or closed
            self._session.forget(id)

    def cast(self, message: Any, to: Atom | Opaque | None = BRIDGE) -> None:
        """Send a message that has no answer. Raises LinkClosed, LinkBusy or BadValue.

        `to` is a pid that came over this link, or a registered name; None where the peer is no
        BEAM.
        """
        if not self.alive:
            raise LinkClosed(self.close_reason)
        self._session.cast(message, to)
        self._flush_soon()

    async def drain(self) -> None:
        """Wait until everything queued has left, or the link is closed."""
        if self.alive and self._session.queued_bytes:
            future: asyncio.Future[None] = self._loop.create_future()
            self._drained.append(future)
            await future

    def close(self, reason: str) -> None:
        """End every call with LinkClosed. What is queued leaves only if it can at once.

        Functions the peer called run to their end; their answers are dropped.
        """
        if not self.alive:
            return
        self.close_reason = reason
        self.closed.set()
        if not self._unwritten and (data := self._session.take()):
            self._transport.write(data)
        self._transport.close()
        self._pinger.cancel()
        if self._timer is not None:
            self._timer.cancel()
        for waiter in self._session.close():
            self._settle(waiter, None, LinkClosed(reason))
        self._release_drained()

    # -- what the transport reports -------------------------------------------------------------

    def received(self, data: bytes) -> None:
        self._take(data)
        if self.alive and self._session.more:
            self._transport.pause()
            self._turns.add(self._take_on)

    def _take_on(self) -> bool:
        self._take(b"")
        more = self.alive and self._session.more
        if not more:
            self._transport.resume()
        return more

    def _take(self, data: bytes) -> None:
        """Handle as many frames as one turn of the loop allows."""
        try:
            for event in self._session.receive(data, TURN_FRAMES):
                if not self.alive:  # closed by what an earlier event led to
                    return
                if isinstance(event, Settled):
                    self._settle(event.waiter, event.value, event.error)
                elif isinstance(event, Call):
                    self._start(event)
                else:
                    self._hear(event.message)
        except LinkError as error:
            self.close(f"{error.code}: {error.message}")
        self._flush()

    def written(self) -> None:
        if self._unwritten:
            self._session.sent(self._unwritten)
            self._unwritten = 0
            self._flush()

    def lost(self, reason: str) -> None:
        self.close(reason)

    # -- inside --------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return int(self._loop.time() * 1000)

    def _hear(self, message: Any) -> None:
        if self._on_cast is None:
            return
        try:
            self._on_cast(message)
        except BaseException:  # a cast has no answer to put it in, and must not end the link
            self._session.counters.failed_casts += 1

    def _start(self, call: Call) -> None:
        try:
            function = self._functions[call.name]
            threaded = call.name in self._in_threads
            run = self._loop.run_in_executor
            value: Any = run(None, function, call.args) if threaded else function(call.args)
        except BaseException as error:  # whatever it is, also SystemExit: the peer gets an answer
            self._answer(call, None, text_of(error))
            return
        if isawaitable(value):
            self._tasks.add(self._loop.create_task(self._finish(call, value)))
        else:
            self._answer(call, value)

    async def _finish(self, call: Call, pending: Awaitable[Any]) -> None:
        task = asyncio.current_task()
        try:
            value = await pending
        except BaseException as error:  # as above; a function may end in CancelledError by itself
            self._answer(call, None, text_of(error))
            if task is not None and task.cancelling():
                raise
        else:
            self._answer(call, value)
        finally:
            # Not by a done callback, which would cost another turn of the loop.
            self._tasks.discard(task)
        self._flush_soon()

    def _answer(self, call: Call, value: Any, failure: str = "") -> None:
        if not self.alive:
            return
        try:
            if failure:
                self._session.fail(call, failure)
            else:
                self._session.answer(call, value)
                if call.name == "hello":
                    self.hello = call.args[0] if call.args else None
        except LinkError as error:
            self.close(f"the peer does not read: {error.message}")

    def _settle(self, waiter: Any, value: Any, error: LinkError | None) -> None:
        if waiter is _PING:
            self._ping_unanswered = False
            self._missed_pings = 0
            return
        future: asyncio.Future[Any] = waiter[0]
        if future.done():  # its caller was cancelled
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._unwritten or not self.alive:
            return
        data = self._session.take()
        if data:
            if not self._transport.write(data):
                self._unwritten = len(data)
                return
            self._session.sent(len(data))
        self._release_drained()

    def _release_drained(self) -> None:
        for future in self._drained:
            if not future.done():
                future.set_result(None)
        self._drained.clear()

    def _arm(self, deadline_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = deadline_ms
        self._timer = Due(deadline_ms / 1000, self._expire)

    def _expire(self) -> None:
        self._timer = None
        # A loop may call a little early: what the timer was set for is due in any case.
        for waiter in self._session.expire(max(self._now_ms(), self._timer_ms)):
            self._settle(waiter, None, LinkTimeout(waiter[1], waiter[2]))
        deadline_ms = self._session.next_deadline_ms()
        if deadline_ms is not None:
            self._arm(deadline_ms)

    def _ping(self) -> None:
        # Counted in turns of this timer, not by the clock: a process that was itself stopped
        # must not call its peer stalled.
        if self._ping_unanswered:
            self._missed_pings += 1
        elif self._session.greeted:
            self._session.ping(_PING)
            self._ping_unanswered = True
            self._flush_soon()
        self._pinger = self._loop.call_later(PING_MS / 1000, self._ping)


_PING = object()
