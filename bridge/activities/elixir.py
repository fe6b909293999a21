"""Activities in Elixir nodes, called over their links: each a process, killed at its end."""

from __future__ import annotations

import asyncio
import contextlib

from bridge.activities.activity import (
    ActivityAway,
    ActivityFailed,
    Attempt,
    NotRetryable,
    Queued,
    read_answer,
)
from bridge.link.errors import BadTerm, LinkBusy, LinkClosed, LinkError, LinkTimeout
from bridge.message import JSON
from bridge.runtimes.elixir import ElixirRuntime, Link

GRACE_MS = 500
CANCEL_MS = 1000


class ElixirActivities:
    """Asks the newest node that has the subsystem's activities."""

    def __init__(self, runtime: ElixirRuntime) -> None:
        self._runtime = runtime
        self._cancelling: set[asyncio.Task[None]] = set()

    def available(self, subsystem: str, activity: str) -> bool:
        return self._runtime.performs(subsystem) is not None

    def queued(self, attempt: Attempt) -> Queued | None:
        return None

    async def perform(self, attempt: Attempt) -> JSON:
        link = self._runtime.performs(attempt.subsystem)
        if link is None:
            raise ActivityAway(f"no node has activities of {attempt.subsystem} now")
        try:
            answer = await link.call(
                "handle", [_asked(attempt, "activity")], attempt.timeout_ms + GRACE_MS
            )
        except asyncio.CancelledError:
            self._cancel(link, attempt)
            raise
        except LinkBusy as error:
            raise ActivityAway(str(error)) from error
        except LinkClosed as error:
            raise ActivityFailed(f"the node is gone: {error}") from error
        except LinkTimeout as error:
            raise ActivityFailed(f"no answer within {attempt.timeout_ms} ms") from error
        except BadTerm as error:
            raise NotRetryable(str(error)) from error
        except LinkError as error:
            raise ActivityFailed(str(error)) from error
        match answer:
            case {"fault": {"message": str(message)}}:  # another node, or later
                raise ActivityAway(message)
        return read_answer(answer, f"{attempt.subsystem}.{attempt.activity}")

    def _cancel(self, link: Link, attempt: Attempt) -> None:
        async def cancel() -> None:
            with contextlib.suppress(LinkError):
                await link.call("handle", [_asked(attempt, "cancel")], CANCEL_MS)

        task = asyncio.create_task(cancel())
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)


def _asked(attempt: Attempt, kind: str) -> dict[str, JSON]:
    """Return what the node is told: as a handler is asked, of another kind."""
    return {
        "subsystem": attempt.subsystem,
        "key": attempt.key,
        "operation": attempt.activity,
        "kind": kind,
        "request": attempt.request,
        "state": None,
        "context": {
            "id": attempt.id,
            "attempt": attempt.number,
            "heartbeat_ms": attempt.heartbeat_ms,
        },
        "digest": "",
        "timeout_ms": attempt.timeout_ms,
    }
