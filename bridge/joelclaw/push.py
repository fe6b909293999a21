"""Events pushed to joelclaw's sessions, each once, with their doorbell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal, cast

import orjson
from redis.asyncio import Redis
from redis.exceptions import (
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    TimeoutError,
)

from bridge.joelclaw.outage import Outage
from bridge.joelclaw.sessions import INTAKE, OWNED, SESSIONS, doorbell_of, list_of
from bridge.message import JSON, derived_id
from bridge.redis.commands import Failures
from bridge.redis.connection import Rejected
from bridge.redis.refusals import UNAVAILABLE
from bridge.telemetry import Telemetry

MARKERS = "joelclaw:bridge:pushed:"
PRIORITIES = ("low", "normal", "high", "urgent", "critical")
MARKER_MS = 604_800_000  # as long as joelclaw remembers the id of a notification

# The list before the marker: whatever fails, fails before anything is written, or with all of
# it written but the doorbell, for which readers sweep.
# KEYS: marker, list, channel, the intake's state, joelclaw's sessions
# ARGV: event, doorbell, marker_ms, the session, 1 if its list may be ours, 1 to come after others
PUSH = """
if ARGV[5] == '1' and redis.call('HGET', KEYS[4], 'state') == 'taken' then return 'owned' end
if redis.call('EXISTS', KEYS[1]) == 1 then return 'repeated' end
if ARGV[6] == '1' and redis.call('SISMEMBER', KEYS[5], ARGV[4]) == 1
  and redis.call('LLEN', KEYS[2]) > 0 then return 'unread' end
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.call('SET', KEYS[1], '1', 'PX', ARGV[3])
redis.call('PUBLISH', KEYS[3], ARGV[2])
return 'pushed'
"""

# KEYS: list, channel. ARGV: doorbell
RING = """
if redis.call('LLEN', KEYS[1]) > 0 then redis.call('PUBLISH', KEYS[2], ARGV[1]) end
"""

Pushed = Literal["pushed", "repeated", "unread"]


class Away(Exception):
    """joelclaw's Redis cannot be reached, or can do nothing now."""


class Refused(Exception):
    """joelclaw's Redis takes no such thing."""


class Owned(Refused):
    """The bridge itself takes what is in that list: there it would drop it as its own echo."""


class Pusher:
    """Push one after the other on one connection; while Redis is away, ask it ever less often."""

    def __init__(self, redis: Redis, telemetry: Telemetry, name: str) -> None:
        """Take joelclaw's Redis. `name` is what its outages are counted under."""
        self._redis = redis
        self._outage = Outage(telemetry, name)
        self._not_before = 0.0
        self._one = asyncio.Lock()

    async def push(
        self, session: str, effect_id: str, event: dict[str, JSON], *, after_others: bool = False
    ) -> Pushed:
        """Push an event, unless it was pushed before under this id.

        `after_others`: not while a registered session has yet to read earlier ones, `unread`.
        Raises Away or Refused.
        """
        keys = (
            MARKERS + effect_id,
            list_of(session),
            doorbell_of(session),
            INTAKE,
            SESSIONS,
        )
        arguments = (
            orjson.dumps(event),
            orjson.dumps(_doorbell(event)),
            MARKER_MS,
            session,
            int(session in OWNED),
            int(after_others),
        )
        answer = await self._ask(lambda: self._redis.eval(PUSH, len(keys), *keys, *arguments))
        pushed = answer.decode()
        if pushed == "owned":
            raise Owned(
                f"the bridge took over what is in {list_of(session)}, and drops there "
                "what it sent itself; `bridge joelclaw release` gives it back"
            )
        return cast(Pushed, pushed)

    async def ring_again(self, session: str, event: dict[str, JSON]) -> None:
        """Ring for an event that may still be unread. Raises Away or Refused."""
        keys = list_of(session), doorbell_of(session)
        doorbell = orjson.dumps(_doorbell(event))
        await self._ask(lambda: self._redis.eval(RING, len(keys), *keys, doorbell))

    async def now_ms(self) -> int:
        """Return the time of joelclaw's Redis. Raises Away or Refused."""
        seconds, microseconds = await self._ask(self._redis.time)
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def is_member(self, session: str) -> bool:
        """Say whether a session is registered with joelclaw. Raises Away or Refused."""
        return bool(await self._ask(lambda: self._redis.sismember(SESSIONS, session)))

    async def _ask(self, command: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        async with self._one:
            if loop.time() < self._not_before:
                raise Away("joelclaw's Redis was not reachable, the next attempt follows")
            try:
                answer = await command()
            except Failures as error:
                if not _is_away(error):
                    raise Refused(f"joelclaw's Redis: {error}") from None
                self._not_before = loop.time() + self._outage.failed(error)
                raise Away(f"joelclaw's Redis: {error or type(error).__name__}") from None
            self._outage.over()
            return answer


def envelope_id(effect_id: str) -> str:
    """Return the UUID of what becomes of effect n of a message."""
    message_id, _, n = effect_id.rpartition("/")
    return derived_id(message_id, n)


def _doorbell(event: dict[str, JSON]) -> dict[str, JSON]:
    doorbell = {"eventId": event["id"], "type": event["type"]}
    if (priority := event["payload"].get("priority")) in PRIORITIES:
        doorbell["priority"] = priority
    return doorbell


def _is_away(error: Exception) -> bool:
    if isinstance(
        error, ConnectionError | TimeoutError | OSError | OutOfMemoryError | ReadOnlyError
    ):
        return True
    return Rejected(str(error)).code in UNAVAILABLE
