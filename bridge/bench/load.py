"""The client of `bridge bench`, in a process of its own and as light as Python allows.

It writes frames made beforehand and counts what comes back without reading it. Commands on
standard input, one JSON object a line; each is answered by one line on standard output:
`{"open": {"url", "count", "hello": [texts], "frames": [texts], "window": n}}`, `{"run": seconds}`
(answers `{"rate": per second}`), `{"time": seconds, "every": seconds}` (one frame each at a time;
answers `{"p50", "p99", "longest", "lost": whether a connection was}`), `{"expect": frames,
"within": seconds}` (answers `{"all": whether they came}`), `{"gone": connections, "within":
seconds}` (answers `{"codes"}`, how many were closed by which code, 0: without one), `{"close":
true}`.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import sys
import time
from collections import Counter
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from bridge.bench.frames import masked

OPEN_AT_ONCE = 50
CLOSE = 8  # RFC 6455, 5.2
READY_TIMEOUT_S = 30


class Caller(asyncio.Protocol):
    """Keep `window` frames unanswered while `running`, all in turn, and count the answers."""

    def __init__(
        self, path: str, host: str, hello: list[bytes], frames: list[bytes], window: int
    ) -> None:
        self.answers = 0
        self.running = False
        self.lost = False
        self.code = 0  # it was closed by
        self.answered: asyncio.Future[None] | None = None
        self.ready = asyncio.get_running_loop().create_future()
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n"
        ).encode()
        self._hello = hello
        self._frames = frames * window if len(frames) < window else frames
        self._next = 0
        self._window = window
        self._unanswered = 0
        self._upgraded = False
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(None)
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"closed before it was ready: {error}"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded and not self._upgrade():
            return
        count = self._take_frames()
        if not self.ready.done():
            self._hello_answered(count)
            return
        self.answers += count
        self._unanswered -= count
        if self.running:
            self.fill()
        if self.answered is not None and count and not self.answered.done():
            self.answered.set_result(None)

    async def time(self, seconds: float, every_s: float) -> list[float]:
        """Ask one after the other and return how long each answer took."""
        took, over = list[float](), time.perf_counter() + seconds
        while not self.lost and (started := time.perf_counter()) < over:
            self.answered = asyncio.get_running_loop().create_future()
            self.transport.write(self._frames[0])
            await self.answered
            took.append(time.perf_counter() - started)
            await asyncio.sleep(every_s)
        return took

    def fill(self) -> None:
        if missing := self._window - self._unanswered:
            self._unanswered = self._window
            start, self._next = self._next, (self._next + missing) % len(self._frames)
            self.transport.write(b"".join((self._frames * 2)[start : start + missing]))

    def _upgrade(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        if b" 101 " not in self._buffer[:20]:
            self.ready.set_exception(ConnectionError(bytes(self._buffer[:200]).decode()))
            return False
        del self._buffer[: end + 4]
        self._upgraded = True
        self._unanswered = len(self._hello)
        self.transport.write(b"".join(self._hello))
        self._hello_answered(0)
        return True

    def _hello_answered(self, count: int) -> None:
        self._unanswered -= count
        if self._unanswered == 0:
            self.ready.set_result(None)

    def _take_frames(self) -> int:
        """Count whole frames; a server's are not masked, ours here are below 64 kB."""
        buffer, start, count = self._buffer, 0, 0
        while len(buffer) - start >= 2:
            length, head = buffer[start + 1], 2
            if length == 126:
                if len(buffer) - start < 4:
                    break
                length, head = int.from_bytes(buffer[start + 2 : start + 4]), 4
            if len(buffer) - start < head + length:
                break
            if buffer[start] & 0xF == CLOSE and length >= 2:
                self.code = int.from_bytes(buffer[start + head : start + head + 2])
                self.transport.close()
            start += head + length
            count += 1
        del buffer[:start]
        return count


async def main() -> None:
    callers: list[Caller] = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        answer: dict[str, Any] = {}
        if "open" in command:
            callers += await _open(**command["open"])
        elif "run" in command:
            answer["rate"] = await _run(callers, command["run"])
        elif "time" in command:
            answer = await _time(callers, command["time"], command["every"])
        elif "expect" in command:
            answer["all"] = await _expect(callers, command["expect"], command["within"])
        elif "gone" in command:
            answer["codes"] = await _gone(callers, command["gone"], command["within"])
        else:
            for caller in callers:
                caller.transport.abort()
            callers.clear()
        print(json.dumps(answer), flush=True)


async def _open(
    url: str, count: int, hello: list[str], frames: list[str], window: int
) -> list[Caller]:
    parts = urlsplit(url)
    path = f"{parts.path or '/'}?{parts.query}"
    loop = asyncio.get_running_loop()
    opened: list[Caller] = []
    while len(opened) < count:
        several = [
            Caller(
                path, parts.netloc, list(map(masked, hello)), list(map(masked, frames)), window
            )
            for _ in range(min(OPEN_AT_ONCE, count - len(opened)))
        ]
        for caller in several:
            await loop.create_connection(
                partial(_same, caller), parts.hostname or "127.0.0.1", parts.port or 80
            )
        async with asyncio.timeout(READY_TIMEOUT_S):
            await asyncio.gather(*(caller.ready for caller in several))
        opened += several
    return opened


def _same(caller: Caller) -> Caller:
    return caller


async def _run(callers: list[Caller], seconds: float) -> float:
    before = sum(caller.answers for caller in callers)
    started = time.perf_counter()
    for caller in callers:
        caller.running = True
        caller.fill()
    await asyncio.sleep(seconds)
    for caller in callers:
        caller.running = False
    return (sum(caller.answers for caller in callers) - before) / (time.perf_counter() - started)


async def _time(callers: list[Caller], seconds: float, every_s: float) -> dict[str, Any]:
    each = await asyncio.gather(*(caller.time(seconds, every_s) for caller in callers))
    took = sorted(itertools.chain(*each))
    return {
        "p50": took[len(took) // 2],
        "p99": took[len(took) * 99 // 100],
        "longest": took[-1],
        "lost": any(caller.lost for caller in callers),
    }


async def _expect(callers: list[Caller], frames: int, within: float) -> bool:
    wanted = sum(caller.answers for caller in callers) + frames
    over = time.perf_counter() + within
    while time.perf_counter() < over:
        if sum(caller.answers for caller in callers) >= wanted:
            return True
        await asyncio.sleep(0.02)
    return False


async def _gone(callers: list[Caller], count: int, within: float) -> dict[int, int]:
    over = time.perf_counter() + within
    while sum(caller.lost for caller in callers) < count and time.perf_counter() < over:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return Counter(caller.code for caller in callers if caller.lost)


if __name__ == "__main__":
    uvloop.run(main())
