"""A recording of what was observed: NDJSON, one object per line.

    {"recording":1,"at_ms":…,"redis":"127.0.0.1:6379/0","sessions":[…],…}
    {"n":1,"at_ms":…,"session":"gateway","event":{…}}    pushed; `found`: was there before
    {"n":1,"at_ms":…,"fate":"lost","cause":"window",…}   the last one of an `n` counts
    {"at_ms":…,"mode":"sleep"}                           as it was, and as somebody set it
    {"gap":{"from_ms":…,"until_ms":…,"why":…}}           nothing was seen meanwhile
    {"summary":{…}}                                      the last line, if it was ended properly

`event` stands for the item's bytes if orjson writes the same ones again; else `raw` has its text,
or `base64` its bytes. It holds payloads: only its owner may read it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from bridge.observe.fate import Pushed, Record, Returned, Settled, Switched

VERSION = 1


class Recording:
    """A new file, for its owner only. Every method may raise OSError."""

    def __init__(self, path: Path) -> None:
        """Make the file; raises FileExistsError rather than touch one that is there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def record(self, record: Record) -> None:
        self.line(_line(record))

    def line(self, line: Mapping[str, Any]) -> None:
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        """Remove it: there was nothing to record."""
        self._file.close()
        self.path.unlink()


class BadRecording(Exception):
    """A file that is no recording; the text says where."""


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a recording, its head first. Raises BadRecording or OSError.

    A last line that is cut off is left out: its writer was killed.
    """
    with open(path, "rb") as file:
        head = _object(file.readline())
        if head is None or head.get("recording") != VERSION:
            raise BadRecording(
                f"{path}: no recording of `bridge observe`: its first line has no "
                f'"recording":{VERSION}'
            )
        yield head
        for number, text in enumerate(file, 2):
            line = _object(text)
            if line is not None:
                yield line
            elif text.endswith(b"\n"):
                raise BadRecording(f"{path}:{number}: expected a JSON object")


def item_of(line: Mapping[str, Any]) -> bytes | None:
    """Return the bytes that were pushed, None if the line is not about a push."""
    if "event" in line:
        return orjson.dumps(line["event"])
    if "raw" in line:
        return str(line["raw"]).encode()
    return base64.b64decode(line["base64"]) if "base64" in line else None


def _line(record: Record) -> dict[str, Any]:
    match record:
        case Pushed():
            line = {"n": record.n, "at_ms": record.at_ms, "session": record.session}
            line |= _written(record.item)
            if record.found:
                line["found"] = True
            if record.fault:
                line["fault"] = record.fault
        case Settled():
            line = {"n": record.n, "at_ms": record.at_ms, "fate": record.fate}
            line |= {name: text for name in ("cause", "why") if (text := getattr(record, name))}
        case Returned():
            line = {"n": record.n, "at_ms": record.at_ms, "fate": "returned"}
        case Switched():
            line = {"at_ms": record.at_ms, "mode": record.mode}
    return line


def _written(item: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(item)
        if type(event) is dict and orjson.dumps(event) == item:
            return {"event": event}
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass
    try:
        return {"raw": item.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(item).decode()}


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if type(value) is dict else None
