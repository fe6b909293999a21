"""joelclaw's keys as far as events pass them, and what commands on them say. No I/O here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bridge.joelclaw import sessions
from bridge.observe.daemon import kept
from bridge.observe.monitor import Command

EVENTS = sessions.list_of("").encode()
BATCH = sessions.list_of(sessions.BATCH).encode()
DOORBELL = sessions.doorbell_of("").encode()
SESSIONS = sessions.SESSIONS.encode()
MESSAGES = b"joelclaw:gateway:messages"  # stream of prompts
SEEN = b"joelclaw:gateway:seen:"  # + what the pi extension takes for an event's id
MODE = b"joelclaw:mode"
BRIDGE = b"joelclaw:bridge:"


def session_of(key: bytes) -> str | None:
    """Return the session whose list of events a key names, None for any other key."""
    if key.startswith(EVENTS) and key != BATCH:
        return key[len(EVENTS) :].decode(errors="replace")
    return None


def integers(words: Sequence[bytes]) -> list[int] | None:
    """Return words as the integers they are, None if one is none."""
    try:
        return [int(word) for word in words]
    except ValueError:
        return None


def id_of(item: bytes) -> str | None:
    """Return the `id` of an event's text."""
    return kept(_object(item).get("id"))


def event_ids(words: Sequence[bytes]) -> list[str]:
    """Return the `eventIds` in field `metadata` of an XADD; `words` is what follows its key."""
    place = 0
    while place < len(words) and (option := words[place].upper()) in _XADD_OPTIONS:
        place += 1
        if option in (b"MAXLEN", b"MINID"):
            place += 2 if words[place : place + 1] in ((b"~",), (b"=",)) else 1
        elif option == b"LIMIT":
            place += 1
    fields = words[place + 1 :]  # after the entry's id
    metadata = dict(zip(fields[::2], fields[1::2], strict=False)).get(b"metadata", b"")
    ids = _object(metadata).get("eventIds")
    return list(filter(None, map(kept, ids))) if type(ids) is list else []


@dataclass(frozen=True, slots=True)
class Pop:
    """A command that takes items from the end of the first list that has any."""

    sessions: list[str]
    head: bool
    count: int = 1
    blocks: bool = False


def pop_of(command: Command) -> Pop | None:
    """Read LPOP and RPOP, LMOVE and RPOPLPUSH, LMPOP, and their blocking forms."""
    name, words = command.name, command.args
    blocks = name.startswith("B")
    base = name.removeprefix("B")
    if base in ("LMOVE", "RPOPLPUSH"):
        keys, head = words[:1], base == "LMOVE" and words[2:3] and words[2].upper() == b"LEFT"
        return _pop(keys, bool(head), 1, blocks)
    if base == "LMPOP":
        words = words[1:] if blocks else words
        count = integers(words[:1])
        if count is None or len(words) < count[0] + 2:
            return None
        rest = words[1 + count[0] :]
        many = integers(rest[2:3]) if rest[1:2] and rest[1].upper() == b"COUNT" else [1]
        return _pop(words[1 : 1 + count[0]], rest[0].upper() == b"LEFT", (many or [1])[0], blocks)
    head = base == "LPOP"
    if blocks:
        return _pop(words[:-1], head, 1, blocks)
    many = integers(words[1:2])
    return _pop(words[:1], head, many[0] if many else 1, blocks)


def _pop(keys: Sequence[bytes], head: bool, count: int, blocks: bool) -> Pop | None:
    sessions = [session for key in keys if (session := session_of(key)) is not None]
    return Pop(sessions, head, count, blocks) if sessions else None


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except ValueError:
        return {}
    return value if type(value) is dict else {}


_XADD_OPTIONS = frozenset({b"NOMKSTREAM", b"MAXLEN", b"MINID", b"LIMIT", b"KEEPREF", b"DELREF"})
