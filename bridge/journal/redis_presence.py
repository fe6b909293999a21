"""Who is there, in Redis under leases."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from bridge.errors import BridgeError
from bridge.journal import records
from bridge.journal.values import Present
from bridge.redis.client import Client
from bridge.redis.connection import NotSent, Part, Rejected, Unanswered
from bridge.redis.keys import prefix_of


class RedisPresence:
    """`RedisJournal.presence`."""

    def __init__(
        self, client: Client, events_keep: int, unavailable: Callable[[Exception], BridgeError]
    ) -> None:
        self._client = client
        self._events_keep = events_keep
        self._unavailable = unavailable

    async def turn(
        self,
        subsystem: str,
        here: Sequence[Present] = (),
        gone: Sequence[Present] = (),
        asked: Collection[str] = (),
        *,
        lease_ms: int,
        told: str = "",
    ) -> dict[str, bytes]:
        arguments: list[Part] = [lease_ms, self._events_keep, told]
        for one in here:
            arguments += ["here", one.key, one.ref, records.presence_member(one)]
        for one in gone:
            arguments += ["gone", one.key, one.ref, ""]
        for key in asked:
            arguments += ["who", key, "", ""]
        try:
            answer = await self._client.run("presence", prefix_of(subsystem), *arguments)
        except (NotSent, Unanswered, Rejected) as error:
            raise self._unavailable(error) from None
        return {key.decode(): text for key, text in zip(answer[::2], answer[1::2], strict=True)}
