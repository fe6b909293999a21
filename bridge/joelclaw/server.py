"""The way to a Redis for what is done a few times a second at most."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

ANSWER_S = 2.0


class _Client(Redis):
    """redis-py's client, which now and then loses the cancellation of who waits for an answer."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        answer = await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
        return answer


def connect(url: str, name: str, *, answer_s: float | None = ANSWER_S) -> Redis:
    """Return a client whose commands fail at once when Redis is away: the caller decides.

    `name` is what `CLIENT LIST` shows. `answer_s` None waits for ever, as for pub/sub.
    """
    return _Client.from_url(
        url,
        client_name=name,
        socket_timeout=answer_s,
        socket_connect_timeout=ANSWER_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
