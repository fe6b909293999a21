"""Activities in TypeScript services: taken from Redis streams, one for each, by consumer groups.

What a service answers is kept in Redis with the call, whoever of the workers looks.
"""

from __future__ import annotations

import time

import orjson

from bridge.activities.activity import Attempt, Queued
from bridge.cloud_event import envelope
from bridge.message import JSON
from bridge.redis.keys import activities_of
from bridge.runtimes.typescript import TypeScriptRuntime


class TypeScriptActivities:
    """Says what is asked; `runtime` hears when there is an answer."""

    def __init__(self, runtime: TypeScriptRuntime, worker: str) -> None:
        self._runtime = runtime
        self._worker = worker

    def available(self, subsystem: str, activity: str) -> bool:
        return True  # the script that puts it into the stream knows

    def queued(self, attempt: Attempt) -> Queued | None:
        event = envelope(
            id=f"{attempt.id}/{attempt.number}",
            source=f"/bridge/{self._worker}",
            type="bridge.activity",
            subject=attempt.key,
            time_ms=time.time_ns() // 1_000_000,
            data=attempt.as_json(),
            replyto=self._runtime.replies,
        )
        stream = activities_of(attempt.subsystem, attempt.activity)
        return Queued(stream, orjson.dumps(event))

    async def perform(self, attempt: Attempt) -> JSON:
        await self._runtime.told(f"{attempt.id}/{attempt.number}")
        return None
