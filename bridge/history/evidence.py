"""What a history is held against, and what is found. No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bridge.journal.values import Dead, OutboxEntry, Route, Timer
from bridge.message import JSON, Version

FindingKind = Literal[
    "lost",  # acknowledged or recorded, and gone
    "repeated",  # happened twice
    "phantom",  # happened, and nobody asked for it
    "reordered",  # happened in an order that was ruled out
    "wrong_reply",  # told something else than what was committed
    "wrong_owner",  # committed by a runtime that did not own the message
    "wrong_state",  # what is stored is not what the journal says
    "wrong_replay",  # the handler answers something else to the same message and state
]

Entry = Mapping[str, Any]  # a journal entry: id, key, seq, operation, request, context, ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise, with the key and message it is about where there is one."""

    kind: FindingKind
    key: str
    message_id: str
    text: str

    def __str__(self) -> str:
        about = " ".join(part for part in (self.key, self.message_id) if part)
        return f"{self.kind}: {about}: {self.text}" if about else f"{self.kind}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is stored about one subsystem, read when nothing moved any more."""

    subsystem: str
    entries: Sequence[Entry]  # the whole journal, oldest first
    states: Mapping[str, tuple[Version, JSON]]  # of every key something was committed to
    routes: Sequence[Route]  # every route there ever was, oldest first
    outbox: Sequence[OutboxEntry] = ()
    timers: Sequence[Timer] = ()
    dead: Sequence[Dead] = ()
    version: int | None = None  # of the contract; entries of others cannot be replayed
    initial_state: JSON = None
    assign: Literal["message", "key"] = "message"  # what a move's share is counted over
    queries: frozenset[str] = frozenset()  # operations that write nothing
    idempotency: Callable[[str, JSON], JSON | None] = field(
        default=lambda operation, request: None
    )  # the value at the contract's pointer, None without one

    def by_key(self) -> dict[str, list[Entry]]:
        """Return the entries of each key, oldest first."""
        keys: dict[str, list[Entry]] = {}
        for entry in self.entries:
            keys.setdefault(entry["key"], []).append(entry)
        return keys
