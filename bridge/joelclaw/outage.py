"""A server that is away: counted from the first failure to the end, said twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from bridge.backoff import Backoff
from bridge.redis.commands import cancellations
from bridge.telemetry import Telemetry

PAUSES_S = 0.1, 5.0


class Outage:
    """Emit `<name>_away` at the first failure and `<name>_back` with the sum at the end."""

    def __init__(
        self,
        telemetry: Telemetry,
        name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._telemetry = telemetry
        self._name = name
        self._clock = clock
        self._since = 0.0
        self._pauses = Backoff(*PAUSES_S)

    @property
    def failures(self) -> int:
        return self._pauses.failures

    def failed(self, error: BaseException) -> float:
        """Count a failure; return how many seconds to wait before the next attempt.

        Raises CancelledError if the task was cancelled: redis-py may make an error of the
        connection of it, and the task would go on.
        """
        if cancellations():
            raise asyncio.CancelledError from error
        if self.failures == 0:
            self._since = self._clock()
            self._telemetry.emit(f"{self._name}_away", text=str(error) or type(error).__name__)
        return self._pauses.failed()

    def over(self) -> None:
        """Say that it is back, if it was away."""
        if self.failures:
            seconds = self._clock() - self._since
            text = f"after {self.failures} failed attempts in {seconds:.1f} s"
            self._telemetry.emit(f"{self._name}_back", text=text)
            self._pauses.over()
