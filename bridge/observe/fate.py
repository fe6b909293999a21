"""What can become of an item pushed to `joelclaw:events:*`, as records. No I/O here."""

from __future__ import annotations

from typing import NamedTuple

from bridge.observe.daemon import Look

FATES = {
    "prompt": "stored as a prompt in joelclaw:gateway:messages",
    "unstored": "handed on in the daemon's memory only: it reads before its store is open",
    "batched": "put into joelclaw:events:batch",
    "suppressed": "read and dropped: its type is in the daemon's table, or it is a heartbeat",
    "duplicate": "read and dropped: its id was read before",
    "mode": "put the daemon to sleep, or woke it",
    "telegram": "read, and meant for Telegram alone: what is sent there does not show in Redis",
    "session": "marked as seen by a pi session",
    "bridge": "taken by the bridge's own intake",
    "taken": "removed by a reader that leaves no trace in Redis",
    "malformed": "read and dropped: its reader takes it for no event",
    "lost": "deleted unread, or read and then nothing",
    "waiting": "still in its list",
    "inconclusive": "it cannot be told",
    "untracked": "too many were waiting to follow this one too",
}
CAUSES = {
    "window": "deleted unread: it came between the reader's LRANGE and its DEL",
    "shutdown": "deleted unread: the reader deletes its list when it signs off",
    "cleared": "deleted unread, by a client that had not read the list: drain, restart, prune",
    "nothing": "read and deleted, and neither stored nor batched",
}


class Pushed(NamedTuple):
    """An item came. `found`: it was there already when the observation began or went on.

    `fault` says what the contract has against it, and is empty if nothing.
    """

    n: int
    at_ms: int
    session: str
    item: bytes
    look: Look
    fault: str
    found: bool


class Settled(NamedTuple):
    """An item's fate; `cause`, one of CAUSES, if it is lost."""

    n: int
    at_ms: int
    session: str
    id: str | None
    type: str
    fate: str
    cause: str = ""
    why: str = ""


class Returned(NamedTuple):
    """The bridge gave an item back: its fate was not its last."""

    n: int
    at_ms: int
    type: str


class Switched(NamedTuple):
    """joelclaw:mode as it was at first, or was set, but not because of an event."""

    at_ms: int
    mode: str


Record = Pushed | Settled | Returned | Switched
