"""A subsystem for the edge's tests: its contract, and a dispatcher that commits to a journal."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from bridge.canonical import digest
from bridge.errors import BridgeError, Refusal
from bridge.journal.memory import MemoryJournal
from bridge.journal.values import Commit
from bridge.message import JSON, Kind, Message, RuntimeName


@dataclass(frozen=True)
class Operation:
    kind: Kind
    content_type: str | None = None


OPERATIONS = {
    "add": Operation("command"),
    "hold": Operation("command"),
    "total": Operation("query"),
    "slow": Operation("query"),
    "large": Operation("query"),
    "refuse": Operation("command"),
    "crash": Operation("query"),
    "upload": Operation("command", "application/octet-stream"),
}


@dataclass(frozen=True)
class Contract:
    presence: bool = False
    told_who_is_there: str = ""

    def operation(self, name: str) -> Operation:
        if name not in OPERATIONS:
            raise BridgeError(
                "unknown_operation",
                f"no operation {name[:64]}",
                expected=sorted(OPERATIONS),
                actual=name[:64],
            )
        return OPERATIONS[name]

    def check_key(self, key: str) -> None:
        if not 1 <= len(key) <= 200:
            raise BridgeError("unknown_topic", "a key has 1 to 200 characters")


class Registry:
    def get(self, name: str) -> Contract:
        if name == "room":
            return Contract(presence=True)
        if name not in ("counter", "other"):
            raise BridgeError(
                "unknown_topic", f"no subsystem {name[:64]!r}", expected=["counter"]
            )
        return Contract()


def journal(events_keep: int = 10_000) -> MemoryJournal:
    return MemoryJournal(lambda: time.time_ns() // 1_000_000, events_keep=events_keep)


@dataclass
class CounterDispatcher:
    """Count per key in a journal. `gate` holds back `slow` and `hold` until it is set."""

    journal: MemoryJournal
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[Message] = field(default_factory=list)
    runtimes: list[RuntimeName | None] = field(default_factory=list)

    async def dispatch(
        self, message: Message, *, timeout_ms: int, runtime: RuntimeName | None = None
    ) -> JSON:
        self.runtimes.append(runtime)
        self.seen.append(message)
        match message.operation:
            case "add":
                return await self._add(message)
            case "hold":
                await self.gate.wait()
                return await self._add(message)
            case "slow":
                await self.gate.wait()
                return {"slow": True}
            case "total":
                snapshot = await self.journal.read(message.subsystem, message.key)
                return snapshot.state or {"total": 0}
            case "large":
                return {"text": "x" * message.request["bytes"]}
            case "refuse":
                raise Refusal("no", "not today", why="because")
            case "upload":
                return {"base64": message.request["base64"]}
        raise ZeroDivisionError("a defect")

    async def migrate(self, subsystem: str, key: str, timeout_ms: int) -> bool:
        return False

    async def _add(self, message: Message) -> JSON:
        fingerprint = digest([message.key, message.operation, message.request])
        while True:
            snapshot = await self.journal.read(message.subsystem, message.key, message.id)
            if snapshot.done is not None:
                return snapshot.done.reply
            n = message.request.get("n", 1)
            total = (snapshot.state or {"total": 0})["total"] + n
            event = {
                "effect": "emit",
                "type": "counter.added",
                "payload": {"n": n, "total": total},
            }
            committed = await self.journal.commit(
                Commit(
                    message_id=message.id,
                    fingerprint=fingerprint,
                    idempotency="",
                    subsystem=message.subsystem,
                    key=message.key,
                    expected=snapshot.version,
                    epoch=snapshot.route.epoch,
                    runtime="python",
                    reason="owner",
                    now_ms=time.time_ns() // 1_000_000,
                    reply={"total": total},
                    state={"total": total},
                    effects=[event],
                    entry={"id": message.id, "key": message.key},
                ),
                1000,
            )
            if committed.status == "committed":
                return {"total": total}
