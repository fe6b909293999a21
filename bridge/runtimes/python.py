"""Handlers in the worker itself, each call under a budget of computing time."""

from __future__ import annotations

import atexit
import signal
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import orjson

from bridge.canonical import json_type
from bridge.errors import Refusal, RuntimeFault, RuntimeUnavailable, text_of
from bridge.message import JSON, MIGRATION, Context, Invocation, Judge, Outcome, RuntimeName
from bridge.runtimes.runtime import unjudged

Handler = Callable[[JSON, str, JSON, Context], tuple[JSON, list[dict[str, JSON]], JSON]]


TICK_S = 0.02
IDLE_S = 1.0


class _OutOfTime(BaseException):
    """Not an Exception: a handler's own `except Exception` must not swallow it."""


class PythonRuntime:
    """Runs handlers on the event loop's thread; a ticking signal interrupts one that loops.

    Must be made and used on the main thread: signals are delivered there. A handler stuck inside
    C code is interrupted only when it returns to Python. The timer ticks only while there is
    something to do; a call itself costs no system call.
    """

    name: RuntimeName = "python"

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        budget_ms: int,
        builds: Mapping[str, str] | None = None,
    ) -> None:
        self._handlers = dict(handlers)
        self._builds = dict(builds or {})
        self._budget_ms = budget_ms
        self._ends = 0.0  # of the running handler's budget, 0 while none runs
        self._used = 0.0
        self._ticking = False
        signal.signal(signal.SIGALRM, self._tick)
        # At exit Python puts the signal's default action back: to end the process with an error.
        atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)

    def available(self, subsystem: str) -> bool:
        return subsystem in self._handlers

    def builds(self) -> dict[str, str]:
        return dict(self._builds)

    def replace(self, subsystem: str, handler: Handler | None, build: str) -> None:
        """Run another handler from the next call on; with None the subsystem is not here."""
        self._builds[subsystem] = build
        if handler is None:
            self._handlers.pop(subsystem, None)
        else:
            self._handlers[subsystem] = handler

    async def handle(self, invocation: Invocation, judge: Judge = unjudged) -> Outcome:
        handler = self._handlers.get(invocation.subsystem)
        if handler is None:
            raise RuntimeUnavailable("python", f"no implementation of {invocation.subsystem}")
        budget_ms = min(self._budget_ms, invocation.timeout_ms)
        try:
            return self._run(handler, invocation, judge, budget_ms / 1000)
        except _OutOfTime:
            text = f"{_where(invocation)} computed for more than {budget_ms} ms"
            raise RuntimeFault("python", "timeout", text) from None

    def _run(
        self, handler: Handler, invocation: Invocation, judge: Judge, budget: float
    ) -> Outcome:
        if not self._ticking:
            self._ticking = True
            signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)
        self._used = time.monotonic()
        try:
            self._ends = self._used + budget
            build = self._builds.get(invocation.subsystem, "")
            return judge(outcome_of(handler, invocation, build))
        finally:
            self._ends = 0.0

    def _tick(self, _signal: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._ends:
            if now > self._ends:
                raise _OutOfTime
        elif now > self._used + IDLE_S:
            self._ticking = False
            signal.setitimer(signal.ITIMER_REAL, 0)


def outcome_of(handler: Handler, invocation: Invocation, build: str = "") -> Outcome:
    """Call a handler with copies. Raises Refusal or RuntimeFault."""
    # Copies: a handler that changes what it was given changes nothing of ours.
    state, request = orjson.loads(orjson.dumps([invocation.state, invocation.request]))
    message_id, key, now_ms, local, seed, deadline_ms = invocation.context
    context = Context(message_id, key, now_ms, dict(local), seed, deadline_ms)
    try:
        if invocation.kind == MIGRATION:
            return _migrated(handler, invocation, state, context, build)
        answer: Any = handler(state, invocation.operation, request, context)
    except (_OutOfTime, RuntimeFault):
        raise
    except BaseException as error:  # also `sys.exit()`: nothing else could raise it here
        refusal = _refusal(error) if isinstance(error, Refusal) else None
        if refusal is not None:
            raise refusal from None
        text = f"{_where(invocation)} raised {text_of(error)}{_place(error)}"
        raise RuntimeFault("python", "crashed", text) from error
    if isinstance(answer, tuple) and len(answer) == 3:
        return Outcome(*answer, build)
    if isinstance(answer, Coroutine):
        answer.close()  # or Python complains that nobody awaited it
        came = "a coroutine: a handler is a plain `def`, what waits for others is no handler"
    else:
        came = f"a tuple of {len(answer)}" if isinstance(answer, tuple) else json_type(answer)
    text = f"{_where(invocation)}: expected (reply, effects, state), got {came}"
    raise RuntimeFault("python", "off_contract", text)


def _migrated(
    handler: Handler, invocation: Invocation, state: JSON, context: Context, build: str
) -> Outcome:
    migrate = getattr(handler, "migrate", None)
    if migrate is None:
        text = f"{_where(invocation)}: there is no `def migrate(state, from_version, context)`"
        raise RuntimeFault("python", "off_contract", text)
    answer: Any = migrate(state, invocation.request["from_version"], context)
    if isinstance(answer, Coroutine):
        answer.close()
        text = f"{_where(invocation)}: expected the state, got a coroutine"
        raise RuntimeFault("python", "off_contract", text)
    return Outcome(None, [], answer, build)


def _refusal(raised: Refusal) -> Refusal | None:
    """Read a refusal here, where it costs the budget; None if a class of others' hides it."""
    try:
        refusal = Refusal(raised.reason, raised.message)
        refusal.message, refusal.detail = raised.message, raised.detail
    except Exception:
        return None
    return refusal


def _place(error: BaseException) -> str:
    """Name the line of the handler's file an error comes from; no folders, clients see it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__]
    lines = [frame.lineno for frame in own if frame.filename == own[0].filename]
    return f" ({Path(own[0].filename).name}:{lines[-1]})" if own else ""


def _where(invocation: Invocation) -> str:
    return f"{invocation.subsystem}.{invocation.operation}"
