"""Activities in Python: async functions, in a thread and an event loop of their own.

So one that blocks keeps other activities waiting, and no client.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping

from bridge.activities.activity import (
    ActivityFailed,
    Attempt,
    Call,
    Queued,
)
from bridge.errors import text_of
from bridge.message import JSON
from bridge.telemetry import Telemetry

Function = Callable[[JSON, Call], Awaitable[JSON]]


class PythonActivities:
    """Runs functions by subsystem and name. `close` ends those that run."""

    def __init__(
        self, functions: Mapping[str, Mapping[str, Function]], telemetry: Telemetry
    ) -> None:
        self._functions = functions
        self._telemetry = telemetry
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def available(self, subsystem: str, activity: str) -> bool:
        return activity in self._functions.get(subsystem, {})

    def queued(self, attempt: Attempt) -> Queued | None:
        return None

    async def perform(self, attempt: Attempt) -> JSON:
        function = self._functions[attempt.subsystem][attempt.activity]
        home = asyncio.get_running_loop()
        call = Call(
            attempt.id,
            attempt.number,
            attempt.key,
            attempt.beat,
            lambda text: _in(home, self._log, attempt, text),
        )
        running = asyncio.run_coroutine_threadsafe(
            _run(function, attempt, call), self._own_loop()
        )
        return await asyncio.wrap_future(running)

    def close(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=1)

    def _log(self, attempt: Attempt, text: str) -> None:
        where = f"{attempt.subsystem}.{attempt.activity} {attempt.id}"
        self._telemetry.emit("activity_log", subsystem=attempt.subsystem, text=f"{where}: {text}")

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="activities", daemon=True
            )
            self._thread.start()
        return self._loop


def _in(
    loop: asyncio.AbstractEventLoop, log: Callable[[Attempt, str], None], of: Attempt, text: str
) -> None:
    loop.call_soon_threadsafe(log, of, text)


async def _run(function: Function, attempt: Attempt, call: Call) -> JSON:
    try:
        return await function(attempt.request, call)
    except ActivityFailed:
        raise
    except Exception as error:  # whatever a user's function raises: that attempt failed
        raise ActivityFailed(text_of(error)) from error
