"""What an activity is handed, what it may raise, and what runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from bridge.message import JSON


class ActivityFailed(Exception):
    """An attempt failed; the text and `detail` are for whoever asked. It may be made again."""

    retryable = True
    code = "failed"  # what `then` is told it was

    def __init__(self, message: str, /, **detail: JSON) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail

    @classmethod
    def of(cls, code: str, message: str, detail: Mapping[str, JSON]) -> ActivityFailed:
        """Return one that is told under another code."""
        failed = cls(message, **detail)
        failed.code = code
        return failed


class NotRetryable(ActivityFailed):
    """Trying again is no use: `then` is told at once."""

    retryable = False


class ActivityAway(Exception):
    """Nobody is there who would run it. That is no attempt: it waits."""


class Queued(NamedTuple):
    """Where a service takes an attempt from, and what it is told there."""

    stream: str
    event: bytes


@dataclass(slots=True)
class Attempt:
    """One attempt. `id` is the effect's: it stays the same in every attempt."""

    id: str
    subsystem: str
    key: str
    activity: str
    number: int  # 1 is the first
    request: JSON
    timeout_ms: int
    heartbeat_ms: int
    beat_s: float = field(default_factory=time.monotonic)  # when the function last said something

    def beat(self) -> None:
        self.beat_s = time.monotonic()

    def as_json(self) -> dict[str, JSON]:
        """Return what is told to who runs it elsewhere."""
        return {
            "id": self.id,
            "subsystem": self.subsystem,
            "key": self.key,
            "activity": self.activity,
            "attempt": self.number,
            "request": self.request,
            "timeout_ms": self.timeout_ms,
            "heartbeat_ms": self.heartbeat_ms,
        }


@dataclass(frozen=True, slots=True)
class Call:
    """What a Python activity is handed beside the request.

    `idempotency_key` is the same in every attempt: give it to whatever you call. The time and the
    wish to end it come as a cancellation. `heartbeat` says that it gets on; `log` adds a line.
    """

    idempotency_key: str
    attempt: int
    key: str
    heartbeat: Callable[[], None]
    log: Callable[[str], None]


class ActivityRuntime(Protocol):
    """Runs the activities that contracts give to one runtime."""

    def available(self, subsystem: str, activity: str) -> bool: ...

    def queued(self, attempt: Attempt) -> Queued | None:
        """Return how a service is to get it; None: `perform` runs it."""
        ...

    async def perform(self, attempt: Attempt) -> JSON:
        """Return the reply, or for what is queued when there may be an answer.

        Raises ActivityFailed or ActivityAway. A cancellation ends the function.
        """
        ...


def read_answer(answer: JSON, where: str) -> JSON:
    """Return the reply of `{ok: {reply}}`; raise what else is told.

    That is `{failed: {message, retryable, detail}}`.
    """
    match answer:
        case {"ok": {"reply": reply}}:
            return reply
        case {"failed": {"message": str(message), "retryable": bool(retryable), **more}}:
            detail = more.get("detail")
            members = detail if isinstance(detail, Mapping) else {}
            kind = ActivityFailed if retryable else NotRetryable
            raise kind(message[:4000], **{str(name): value for name, value in members.items()})
    raise NotRetryable(f"{where}: expected ok or failed, got {type(answer).__name__}")
