"""A server that is away: counted from the first failure to the end, said twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from bridge.joelclaw.redis_client import cancellations
from bridge.telemetry import Telemetry

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0


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
        self.failures = 0

    def failed(self, error: BaseException) -> float:
        """Count a failure; return how many seconds to wait before the next attempt.

        The wait doubles with each failure, with jitter, so that not all come at once. Raises
        CancelledError if the task was cancelled: redis-py may make an error of the connection
        of it, and the task would go on.
        """
        if cancellations():
            raise asyncio.CancelledError from error
        if self.failures == 0:
            self._since = self._clock()
            self._telemetry.emit(f"{self._name}_away", text=str(error) or type(error).__name__)
        self.failures += 1
        longest: float = min(FIRST_PAUSE_S * 2 ** min(self.failures, 10), LONGEST_PAUSE_S)
        return longest * random.uniform(0.5, 1)

    def over(self) -> None:
        """Say that it is back, if it was away."""
        if self.failures:
            seconds = self._clock() - self._since
            text = f"after {self.failures} failed attempts in {seconds:.1f} s"
            self._telemetry.emit(f"{self._name}_back", text=text)
            self.failures = 0
