"""The text a language model is given of a delivery. No I/O here.

The TypeScript half of this is `promptOf` in contracts/typescript/src/prompt.ts; both are held to
contracts/vectors/delivery.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from bridge.canonical import canonical
from bridge.message import JSON

LAST_MS = 253_370_764_800_000  # 9999-01-01: no zone has a day beyond what datetime knows


def prompt_of(type: str, payload: dict[str, JSON], zone: str) -> str:
    """Return the producers' own words, else the events as joelclaw's daemon lists them.

    `zone` is the IANA name of the zone in which times of day are told.
    """
    if isinstance(prompt := payload.get("prompt"), str):
        return prompt
    if isinstance(by_type := payload.get("by_type"), dict):
        events = "event" if payload.get("count") == 1 else "events"
        lines = (f"- {name}: {by_type[name]}" for name in sorted(by_type))
        return "\n".join((f"Digest of {payload.get('count')} {events}:", *lines))
    return "\n".join(_line(event, zone) for event in payload.get("events", [])) or type


def _time(at_ms: int, zone: str) -> str:
    if at_ms > LAST_MS:
        return str(at_ms)
    return f"{datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)):%H:%M:%S}"


def _line(event: dict[str, Any], zone: str) -> str:
    line = f"- **[{_time(event['ts'], zone)}] {event['type']}** ({event['source']})"
    return f"{line}\n  {canonical(event['payload']).decode()}" if event["payload"] else line
