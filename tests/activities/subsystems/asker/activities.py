"""What `asker` asks for in Python: it does what the text says."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from bridge.activities import Call, NotRetryable


async def here(request: Any, call: Call) -> Any:
    text = request["text"]
    if note := os.environ.get("ASKED"):  # a file in which each attempt is noted
        with Path(note).open("a") as file:  # noqa: ASYNC230
            file.write(f"{call.idempotency_key} {call.attempt} {text}\n")
    match text.partition(" ")[0]:
        case "fail":
            raise ValueError(f"failed at {call.attempt}")
        case "never":
            raise NotRetryable("no use", why="never")
        case "second" if call.attempt == 1:
            raise ValueError("not the first")
        case "off":
            return {"text": text}
        case "hang":
            await asyncio.Event().wait()
        case "beat":
            for _ in range(10):
                await asyncio.sleep(0.3)
                call.heartbeat()
                call.log("it gets on")
    return {"text": text, "attempt": call.attempt}
