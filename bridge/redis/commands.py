"""Clients of a Redis for what is done a few times a second at most."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from bridge.redis.address import Address

ANSWER_S = 2.0

Failures = (RedisError, OSError)  # what any command may raise


def cancellations() -> int:
    """Return how often the running task was cancelled.

    redis-py sends with `asyncio.wait_for`, which before Python 3.12 loses a cancellation that
    comes just when it is done: who waits in a loop must compare, or it never ends.
    """
    task = asyncio.current_task()
    return task.cancelling() if task else 0


class _Client(Redis):
    """redis-py's client, but a cancellation always ends a command."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        before = cancellations()
        try:  # redis-py leaves the method without types
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call] # redis-py has no types
        finally:  # an answer may be an error that means nothing to who has to end
            if cancellations() > before:
                raise asyncio.CancelledError


def connect(url: str, name: str, *, answer_s: float | None = ANSWER_S) -> Redis:
    """Return a client whose commands fail at once when Redis is away: the caller decides.

    `name` is what `CLIENT LIST` shows. `answer_s` None waits for ever, as for pub/sub. Raises
    ValueError for a URL that is none, or of another form than the journal's.
    """
    address = Address.parse(url)
    client = _Client.from_url(
        url,
        client_name=name,
        socket_timeout=answer_s,
        socket_connect_timeout=min(ANSWER_S, answer_s or ANSWER_S),
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        **({"ssl_check_hostname": True} if address.tls else {}),
    )
    try:
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call] # redis-py has no types
    except TypeError as error:  # parameters are looked at when the first connection is made
        raise ValueError(f"Redis URL: {error}") from None
    return client
