"""Another subsystem as what is called: its operation, in whichever runtime."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bridge.activities.activity import ActivityFailed, Attempt, NotRetryable, Queued
from bridge.errors import BridgeError
from bridge.message import JSON, Message, derived_id

Ask = Callable[[Message], Awaitable[JSON]]


class SubsystemCalls:
    """Dispatches one message, whose id derives from the call's: it is applied once."""

    def __init__(self, ask: Ask, to: str, operation: str) -> None:
        self._ask = ask
        self._subsystem, _, self._key = to.partition(":")
        self._operation = operation

    def available(self, subsystem: str, activity: str) -> bool:
        return True

    def queued(self, attempt: Attempt) -> Queued | None:
        return None

    async def perform(self, attempt: Attempt) -> JSON:
        message = Message(
            derived_id(attempt.id, "call"),
            self._subsystem,
            self._key,
            self._operation,
            attempt.request,
        )
        try:
            return await self._ask(message)
        except BridgeError as error:
            kind = ActivityFailed if error.retryable else NotRetryable
            raise kind.of(error.code, error.message, error.detail) from error
