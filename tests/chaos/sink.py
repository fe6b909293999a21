"""An Inngest that remembers what it accepted, and at times fails, hangs or forgets to answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from random import Random
from typing import Any, Literal

Fault = Literal["none", "error", "hang", "cut"]


class Sink:
    """Take `POST /e/<key>` with one event or an array; `accepted` has them in order.

    `fault` is asked for each request: `error` answers 500 and takes nothing, `hang` takes the
    events and answers only after `hang_s`, `cut` takes them and closes without an answer.
    """

    def __init__(self, fault: Callable[[], Fault] = lambda: "none", hang_s: float = 3) -> None:
        self.accepted: list[dict[str, Any]] = []
        self.requests = 0
        self._fault = fault
        self._hang_s = hang_s
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def wait_for(self, count: int, timeout_s: float) -> list[dict[str, Any]]:
        """Return what was accepted once there are `count` events; raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while len(self.accepted) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.accepted

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(
            int(line.partition(":")[2])
            for line in head.split("\r\n")
            if line.lower().startswith("content-length:")
        )
        body = json.loads(await reader.readexactly(length))
        self.requests += 1
        fault = self._fault()
        if not head.startswith("POST /e/") or fault == "error":
            await _respond(writer, "500 Internal Server Error", {"error": "not now"})
            return True
        events = body if isinstance(body, list) else [body]
        self.accepted += events
        self._changed.set()
        if fault == "cut":
            return False
        if fault == "hang":
            await asyncio.sleep(self._hang_s)
        await _respond(writer, "200 OK", {"ids": [e.get("id") for e in events], "status": 200})
        return True


def random_faults(random: Random) -> Callable[[], Fault]:
    """Draw a fault for about one request in ten."""

    def draw() -> Fault:
        luck = random.random()
        return (
            "error"
            if luck < 0.06
            else "cut"
            if luck < 0.09
            else ("hang" if luck < 0.095 else "none")
        )

    return draw


async def _respond(writer: asyncio.StreamWriter, status: str, body: dict[str, Any]) -> None:
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(text)}"
    writer.write(head.encode() + b"\r\n\r\n" + text)
    await writer.drain()
