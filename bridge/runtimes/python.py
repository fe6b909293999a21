"""Handlers in the worker itself, each call under a budget of computing time."""

from __future__ import annotations

import atexit
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import orjson

from bridge.errors import Refusal, RuntimeFault, RuntimeUnavailable
from bridge.message import JSON, Context, Invocation, Outcome, RuntimeName

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

    def __init__(self, handlers: Mapping[str, Handler], budget_ms: int) -> None:
        self._handlers = handlers
        self._budget_ms = budget_ms
        self._ends = 0.0  # of the running handler's budget, 0 while none runs
        self._used = 0.0
        self._ticking = False
        signal.signal(signal.SIGALRM, self._tick)
        # At exit Python puts the signal's default action back: to end the process with an error.
        atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)

    def available(self, subsystem: str) -> bool:
        return subsystem in self._handlers

    async def handle(self, invocation: Invocation) -> Outcome:
        handler = self._handlers.get(invocation.subsystem)
        if handler is None:
            raise RuntimeUnavailable("python", f"no implementation of {invocation.subsystem}")
        # Copies: a handler that changes what it was given changes nothing of ours.
        state, request = orjson.loads(orjson.dumps([invocation.state, invocation.request]))
        budget_ms = min(self._budget_ms, invocation.timeout_ms)
        try:
            answer = self._run(handler, state, request, invocation, budget_ms / 1000)
        except Refusal:
            raise
        except _OutOfTime:
            text = f"{_where(invocation)} computed for more than {budget_ms} ms"
            raise RuntimeFault("python", "timeout", text) from None
        except Exception as error:
            text = f"{_where(invocation)} raised {type(error).__name__}: {error}{_place(error)}"
            raise RuntimeFault("python", "crashed", text) from error
        if not isinstance(answer, tuple) or len(answer) != 3:
            text = f"{_where(invocation)}: expected (reply, effects, state), got {type(answer)}"
            raise RuntimeFault("python", "off_contract", text)
        return Outcome(*answer)

    def _run(
        self, handler: Handler, state: JSON, request: JSON, invocation: Invocation, budget: float
    ) -> Any:
        if not self._ticking:
            self._ticking = True
            signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)
        self._used = time.monotonic()
        try:
            self._ends = self._used + budget
            return handler(state, invocation.operation, request, invocation.context)
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


def _place(error: Exception) -> str:
    """Name the line of the handler's file an error comes from; no folders, clients see it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__]
    lines = [frame.lineno for frame in own if frame.filename == own[0].filename]
    return f" ({Path(own[0].filename).name}:{lines[-1]})" if own else ""


def _where(invocation: Invocation) -> str:
    return f"{invocation.subsystem}.{invocation.operation}"
