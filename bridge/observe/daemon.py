"""What joelclaw's readers make of an event without leaving a trace in Redis. No I/O here.

The rules of the early daemon (2026-02-22) and of the pi extension. What they store, batch or mark
as seen shows in Redis; this is for the rest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import orjson

SUPPRESSED = frozenset(
    {"todoist.task.completed", "memory.observed", "content.synced", "progress"}
)
HEARTBEAT = "cron.heartbeat"  # alone it makes no prompt, and none at all in sleep
MODES = {"gateway/sleep": b"sleep", "gateway/wake": b"active"}
REMEMBERED = 500  # ids the daemon has read
MAX_TEXT = 200  # characters of an id or type that are kept

Shape = Literal["event", "object", "text"]


@dataclass(frozen=True, slots=True)
class Look:
    """What of an item decides its fate. Only shape `event` has the five fields as the daemon
    wants them; `text` is no JSON at all.
    """

    id: str | None
    type: str
    shape: Shape
    telegram_only: bool = False  # sent to Telegram at once, and nowhere else
    minute: int | None = None  # of a heartbeat: by it the pi extension tells them apart


def look(item: bytes) -> Look:
    """Read an item as `JSON.parse` and the daemon's check of the fields do."""
    try:
        event = _parsed(item)
    except (ValueError, RecursionError):
        return Look(None, "(no JSON)", "text")
    if type(event) is not dict:
        return Look(None, "(no object)", "object")
    texts = [event.get(name) for name in ("id", "type", "source")]
    known_id, known_type = map(kept, texts[:2])
    ts: Any = event.get("ts")
    payload = event.get("payload")
    fits = all(type(text) is str for text in texts) and type(payload) in (dict, list)
    if known_type is None or not fits or type(ts) not in (int, float):
        return Look(known_id, known_type or "(no type)", "object")
    minute = int(ts // 60_000) if known_type == HEARTBEAT and math.isfinite(ts) else None
    return Look(known_id, known_type, "event", _telegram_only(known_type, payload), minute)


def kept(text: Any) -> str | None:
    """Return what is kept of an id or a type, None if it is no text."""
    if type(text) is not str:
        return None
    return text[:MAX_TEXT].encode(errors="replace").decode()  # no lone surrogates


def unseen_by_daemon(what: Look, read_ids: Container[str]) -> tuple[str, str]:
    """Return fate and reason of an item the daemon read, deleted, and left no trace of."""
    if what.shape != "event":
        return "malformed", "no JSON" if what.shape == "text" else "not the five fields"
    if what.id in read_ids:
        return "duplicate", ""
    if what.type in SUPPRESSED or what.type == HEARTBEAT:
        return "suppressed", ""
    return ("telegram" if what.telegram_only else "lost"), ""


def unseen_by_pi(what: Look, *, looked_up: bool) -> tuple[str, str]:
    """Return the same for a pi session; `looked_up` if it asked whether it had seen it."""
    if what.shape == "text":
        return "malformed", "no JSON"
    if what.type == HEARTBEAT:
        return "suppressed", "of several heartbeats it takes the latest"
    return ("duplicate", "") if looked_up else ("lost", "")


def _telegram_only(event_type: str, payload: Any) -> bool:
    if type(payload) is not dict or payload.get("telegramOnly") is not True:
        return False
    at_once = payload.get("immediateTelegram") is True or payload.get("level") == "fatal"
    return at_once or event_type == "system.fatal"


def _parsed(item: bytes) -> Any:
    try:
        return orjson.loads(item)
    except ValueError:  # JSON.parse takes lone surrogates, ioredis repairs what is not UTF-8
        return json.loads(item.decode(errors="replace"), parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
