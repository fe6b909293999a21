"""An Inngest in small: keeps each request as it came and answers as the real one does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

HANG = b"hang"  # say nothing
CUT = b"cut"  # take it and close without an answer


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def events(self) -> list[dict[str, Any]]:
        value = json.loads(self.body)
        return value if isinstance(value, list) else [value]


def response(status: int, body: Any, *headers: str) -> bytes:
    """Return an HTTP answer with a JSON body."""
    text = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} -", f"content-length: {len(text)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + text


def accepted(request: Request) -> bytes:
    """Answer with an id for each event: its name and place, so that tests see the order."""
    ids = [f"{n}:{event['name']}" for n, event in enumerate(request.events)]
    return response(200, {"ids": ids, "status": 200}, "X-Inngest-Server-Kind: dev")


def always(answer: bytes) -> Callable[[Request], bytes]:
    return lambda request: answer


class InngestServer:
    """`answer` says what comes back, `requests` has everything in order of arrival."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], bytes] = accepted
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._stopping = asyncio.Event()

    @property
    def names(self) -> list[str]:
        return [event["name"] for request in self.requests for event in request.events]

    async def start(self) -> str:
        """Return the URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        self._stopping.set()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        headers = {name.lower(): value for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, target, _ = first.split(" ")
        request = Request(method, target, headers, body)
        self.requests.append(request)
        answer = self.answer(request)
        if answer == HANG:
            await self._stopping.wait()
        if answer in (CUT, HANG):
            return False
        writer.write(answer)
        await writer.drain()
        return True
