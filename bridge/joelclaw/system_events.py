"""The executor of `system_event` effects: pushed to a session of joelclaw's, exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.joelclaw.push import Away, Owned, Pusher, Refused, envelope_id
from bridge.joelclaw.sessions import refused_session
from bridge.message import JSON
from bridge.targets import EffectFailed, TargetAway

if TYPE_CHECKING:
    from bridge.journal.values import OutboxEntry


class SystemEvents:
    """Push what a handler asked for; the outbox may repeat it, the session gets it once."""

    def __init__(self, pusher: Pusher) -> None:
        self._pusher = pusher

    together = 1

    async def __call__(self, entries: Sequence[OutboxEntry]) -> None:
        (entry,) = entries
        session = entry.effect["session"]
        if why := refused_session(session):
            raise EffectFailed(f"session {session!r}: {why}", final=True)
        try:
            await self._pusher.push(session, entry.id, system_event_of(entry))
        except Refused as error:
            raise EffectFailed(str(error), final=isinstance(error, Owned)) from None
        except Away as error:
            raise TargetAway(str(error)) from None


def system_event_of(entry: OutboxEntry) -> dict[str, JSON]:
    """Return the event with all five fields; whose `source` begins with `bridge/` is ours."""
    return {
        "id": envelope_id(entry.id),
        "type": entry.effect["type"],
        "source": f"bridge/{entry.runtime or 'effects'}",
        "payload": entry.effect["payload"],
        "ts": entry.committed_ms,
    }
