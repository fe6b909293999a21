"""What the journal in memory keeps of each subsystem."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.journal import records
from bridge.journal.memory_deliveries import MemoryDeliveries
from bridge.journal.values import (
    Dead,
    OutboxEntry,
    Present,
    Route,
    Timer,
)
from bridge.message import JSON, Version


@dataclass(slots=True)
class State:
    version: Version
    at_ms: int
    text: bytes
    contract: int
    at: str  # the position of its entry, and of the one whose whole state that builds on
    whole: str


class Entry(NamedTuple):
    key: str
    seq: int
    before: str
    whole: str  # "" if it has its own
    text: bytes

    def read(self) -> dict[str, JSON]:
        return records.read_entry(self.text, self.key, self.seq, self.before)


@dataclass(slots=True)
class Lane:
    entries: list[OutboxEntry]
    due_ms: int
    held: str = ""  # the kind nobody could execute


@dataclass(slots=True)
class Pending:
    timer: Timer
    visible_ms: int


@dataclass(slots=True)
class Buried:
    letter: Dead
    entry: OutboxEntry | None
    timer: Timer | None


@dataclass(slots=True)
class Subsystem:
    """All of one subsystem; texts are canonical bytes, so that nobody holds what is stored."""

    routes: list[Route] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)
    done: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # id -> (expiry, record)
    idempotency: dict[str, str] = field(default_factory=dict)  # digest -> message id
    entries: dict[str, Entry] = field(default_factory=dict)  # by position, oldest first
    trimmed: str = records.START
    exported: str = records.START
    events: list[tuple[str, bytes, str]] = field(default_factory=list)  # see `_emit`
    events_count: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    lanes: dict[str, Lane] = field(default_factory=dict)
    timers: dict[str, Pending] = field(default_factory=dict)
    dead: dict[str, Buried] = field(default_factory=dict)
    present: dict[tuple[str, str], tuple[int, Present]] = field(default_factory=dict)
    deliveries: MemoryDeliveries | None = None
