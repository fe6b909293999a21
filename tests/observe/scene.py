"""Commands as joelclaw's readers and writers send them, for what becomes of items."""

from __future__ import annotations

import json
from typing import Any

from bridge.observe.fate import (
    CAUSES,
    FATES,
    Pushed,
    Record,
    Settled,
)
from bridge.observe.fates import GRACE_MS, Fates
from bridge.observe.monitor import Command

GATEWAY, MAIN, BATCH = "joelclaw:events:gateway", "joelclaw:events:main", "joelclaw:events:batch"
MODE, SESSIONS = "joelclaw:mode", "joelclaw:gateway:sessions"
DAEMON, WRITER, PI, CLI = "daemon:1", "writer:1", "pi:1", "cli:1"


def event(id: str, type: str = "test", **changes: Any) -> str:
    whole = {"id": id, "type": type, "source": "cli", "payload": {}, "ts": 1795380404972}
    return json.dumps(whole | changes)


class Scene:
    """Fates that see one command a millisecond, from 1,000 on."""

    def __init__(self, lists: dict[str, list[str]] | None = None, **options: Any) -> None:
        self.fates = Fates(**options)
        self.now_ms = 1_000
        self.records: list[Record] = []
        self.begin(lists or {})

    def begin(self, lists: dict[str, list[str]], mode: str = "active") -> None:
        raw = {name: [item.encode() for item in items] for name, items in lists.items()}
        self.fates.begin(self.now_ms, raw, mode)
        self._take()

    def do(self, client: str, *words: str | bytes) -> None:
        self.now_ms += 1
        name, *args = (word if isinstance(word, bytes) else word.encode() for word in words)
        self.fates.see(Command(self.now_ms, 0, client, name.decode(), tuple(args)))
        self._take()

    def push(self, *items: str, key: str = GATEWAY, writer: str = WRITER) -> None:
        """Push and ring, as all of joelclaw's writers do."""
        for item in items:
            self.do(writer, "LPUSH", key, item)
            bell = key.replace(":events:", ":notify:")
            self.do(writer, "PUBLISH", bell, '{"eventId":"1","type":"test"}')

    def store(self, *ids: str, client: str = DAEMON) -> None:
        """Store a prompt as the early daemon does."""
        metadata = json.dumps({"eventCount": len(ids), "eventIds": ids})
        words = ("source", "gateway", "prompt", "…", "metadata", metadata, "timestamp", "1")
        self.do(client, "XADD", "joelclaw:gateway:messages", "*", *words)

    def read(self, client: str = DAEMON, key: str = GATEWAY) -> None:
        self.do(client, "LRANGE", key, "0", "-1")

    def delete(self, client: str = DAEMON, key: str = GATEWAY) -> None:
        self.do(client, "DEL", key)

    def wait(self, ms: int = GRACE_MS) -> None:
        self.now_ms += ms
        self.fates.advance(self.now_ms)
        self._take()

    def end(self, **how: Any) -> dict[str | None, str]:
        """Finish; return the last fate of every id."""
        self.fates.finish(self.now_ms, **how)
        self._take()
        assert self.fates.followed == 0
        return self.fated()

    def fated(self) -> dict[str | None, str]:
        return {record.id: record.fate for record in self.settled()}

    def settled(self) -> list[Settled]:
        found = [record for record in self.records if isinstance(record, Settled)]
        assert all(record.fate in FATES for record in found)
        assert all((record.cause in CAUSES) == (record.fate == "lost") for record in found)
        return found

    def pushed(self) -> list[Pushed]:
        return [record for record in self.records if isinstance(record, Pushed)]

    def _take(self) -> None:
        self.records += self.fates.take()
