"""What the journal's tests share: one journal for each test, and short ways to commit."""

from __future__ import annotations

import unittest
from collections.abc import Sequence
from typing import Any

from bridge.journal.store import Journal
from bridge.journal.values import Commit, Committed, OutboxEntry
from bridge.message import JSON, Version
from tests.deadline import DEADLINE_S

SUBSYSTEM = "counter"
KINDS = ("inngest", "system_event", "call")
LEASE_MS = 60_000
SHORT_MS = int(DEADLINE_S * 20)  # what a test lets pass: long against a slow machine's round trip


class JournalCase(unittest.IsolatedAsyncioTestCase):
    """A subclass for each implementation opens journals on one store, empty at each test."""

    journal: Journal

    async def open_journal(self, **options: Any) -> Journal:
        """Open a journal, closed after the test; those on a server share the test's store."""
        raise NotImplementedError

    async def pass_time(self, ms: int) -> None:
        """Return when the store's clock has gone on by `ms`."""
        raise NotImplementedError

    async def asyncSetUp(self) -> None:
        self.journal = await self.open_journal()
        await self.journal.ensure_route(SUBSYSTEM, "python", None)

    async def prepare(self, message_id: str, *effects: dict[str, JSON], **changes: Any) -> Commit:
        return await prepare(self.journal, message_id, *effects, **changes)

    async def put(self, message_id: str, *effects: dict[str, JSON], **changes: Any) -> Version:
        """Commit, and return the version it made."""
        committed = await self.journal.commit(
            await self.prepare(message_id, *effects, **changes), 5000
        )
        assert committed.status == "committed", committed
        return committed.version

    async def refused(self, commit: Commit, status: str) -> Committed:
        """Commit, and check that nothing was written but `status` answered."""
        before = await self.everything()
        committed = await self.journal.commit(commit, 5000)
        assert committed.status == status, committed
        assert await self.everything() == before
        return committed

    async def everything(self, subsystem: str = SUBSYSTEM) -> list[Any]:
        """Return all that can be read of a subsystem."""
        journal = self.journal
        keys = await journal.keys(subsystem)
        return [
            [
                (key, (await journal.read(subsystem, key))._replace(now_ms=0, base=None))
                for key in keys
            ],
            await journal.entries(subsystem),
            await journal.events_after(subsystem, "0-0"),
            await journal.outbox(subsystem),
            await journal.timers(subsystem),
            await journal.dead(subsystem),
            await journal.route_log(subsystem),
        ]

    async def claim(self, *kinds: str, count: int = 10) -> list[OutboxEntry]:
        return await self.journal.claim(SUBSYSTEM, kinds or KINDS, count, LEASE_MS)


ENTRY: dict[str, JSON] = {
    "operation": "add",
    "request": {"n": 1},
    "zone": "UTC",
    "deadline_ms": 1_800_000_001_123,
}


async def prepare(
    journal: Journal, message_id: str, *effects: dict[str, JSON], **changes: Any
) -> Commit:
    """Return a commit that fits what is stored now."""
    key = changes.get("key", "k")
    snapshot = await journal.read(changes.get("subsystem", SUBSYSTEM), key)
    values: dict[str, Any] = {
        "message_id": message_id,
        "fingerprint": f"print-of-{message_id}",
        "idempotency": "",
        "subsystem": SUBSYSTEM,
        "key": key,
        "expected": snapshot.version,
        "epoch": snapshot.route.epoch,
        "runtime": snapshot.route.owner,
        "reason": "owner",
        "now_ms": 1_800_000_000_123,
        "reply": {"answer": message_id},
        "state": {"last": message_id},
        "effects": list(effects),
        "entry": ENTRY,
        "base": snapshot.base,
    }
    return Commit(**{**values, **changes})


def emit(type_: str = "counter.added", **payload: JSON) -> dict[str, JSON]:
    return {"effect": "emit", "type": type_, "payload": payload}


def inngest(name: str = "counter/added", **more: JSON) -> dict[str, JSON]:
    return {"effect": "inngest", "name": name, "data": {}, "id": name, **more}


def system_event(session: str = "s", **more: JSON) -> dict[str, JSON]:
    return {"effect": "system_event", "session": session, "type": "t", "payload": {}, **more}


def schedule(id_: str = "later", at_ms: int = 1, **request: JSON) -> dict[str, JSON]:
    return {
        "effect": "schedule",
        "id": id_,
        "at_ms": at_ms,
        "operation": "add_later",
        "request": request,
    }


def cancel(id_: str = "later") -> dict[str, JSON]:
    return {"effect": "cancel", "id": id_}


def ids(found: Sequence[Any]) -> list[str]:
    return [item.id for item in found]
