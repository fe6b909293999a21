"""CloudEvents 1.0 in JSON, as they stand in streams. No I/O here."""

from __future__ import annotations

from datetime import UTC, datetime

from bridge.message import JSON


def envelope(
    *, id: str, source: str, type: str, subject: str, time_ms: int, data: JSON, **extensions: JSON
) -> dict[str, JSON]:
    """Return an event; names of extension attributes are lower case letters and digits."""
    return {
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": type,
        "subject": subject,
        "time": _iso(time_ms),
        "datacontenttype": "application/json",
        "data": data,
        **extensions,
    }


def _iso(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{at_ms % 1000:03d}Z"
