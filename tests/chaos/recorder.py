"""What all clients of one run record, in one order and by one clock."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


class Recorder:
    """`lines` is a history as `bridge.history.records` describes it."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def record(self, event: str, client: str, **members: Any) -> None:
        at = round(time.monotonic() * 1000, 3)
        self.lines.append({"at": at, "client": client, "event": event, **members})

    def write(self, path: Path) -> None:
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
