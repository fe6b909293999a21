"""Journal entries in files: one JSON object per line, one file per day (UTC) of commits."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from bridge.message import JSON


class Export:
    """The exported entries of one subsystem; `last` is the position of the last one, or ''."""

    def __init__(self, folder: Path) -> None:
        """Find where an earlier export ended; a line it could not finish is taken back."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.last = ""
        for file in sorted(folder.glob("*.ndjson"), reverse=True):
            self.last = _last_position(file)
            if self.last:
                break

    def append(self, entries: Iterable[tuple[str, dict[str, JSON]]]) -> None:
        """Append entries in order; when it returns they are on the disk."""
        for day, some in groupby(entries, key=lambda entry: _day(entry[0])):
            path = self._folder / f"{day}.ndjson"
            with open(path, "ab") as file:
                for position, entry in some:
                    line = json.dumps({"position": position, **entry}, ensure_ascii=False)
                    file.write(line.encode() + b"\n")
                    self.last = position
                file.flush()
                os.fsync(file.fileno())


def _last_position(file: Path) -> str:
    with open(file, "r+b") as opened:
        text = opened.read()
        whole, newline, torn = text.rpartition(b"\n")
        if torn:
            opened.truncate(len(whole) + len(newline))
    if not newline:
        return ""
    return str(json.loads(whole.rpartition(b"\n")[2])["position"])


def _day(position: str) -> str:
    ms = int(position.partition("-")[0])
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")
