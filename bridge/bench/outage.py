"""An Inngest that is away while commands go on: attempts, and how soon all is sent."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import orjson

from bridge.bench.figures import Figure
from bridge.bench.processes import redis, worker
from bridge.client import connected
from bridge.message import JSON

OUTAGE_S = 20.0
WORKERS = 2
KEYS = 50
EFFECTS = 1000
PATIENCE_S = 120.0


class Target:
    """Take events as Inngest does, or answer 503; count the requests meanwhile."""

    def __init__(self) -> None:
        self.away = True
        self.attempts = 0
        self.requests = 0
        self.events: list[JSON] = []
        self.complete = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
                writer.write(self._answer(orjson.loads(await reader.readexactly(length))))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()

    def _answer(self, events: JSON) -> bytes:
        if self.away:
            self.attempts += 1
            return b"HTTP/1.1 503 -\r\ncontent-length: 2\r\n\r\n{}"
        self.requests += 1
        events = events if isinstance(events, list) else [events]
        self.events += events
        if len(self.events) >= EFFECTS:
            self.complete.set()
        body = orjson.dumps({"ids": [event["id"] for event in events], "status": 200})
        return b"HTTP/1.1 200 -\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


@asynccontextmanager
async def target() -> AsyncIterator[tuple[Target, str]]:
    here = Target()
    server = await asyncio.start_server(here.serve, "127.0.0.1", 0)
    try:
        yield here, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def outage(away_s: float) -> list[Figure]:
    """Let 1,000 effects of 50 keys wait for two workers' target, then have it come back."""
    async with AsyncExitStack() as stack:
        redis_url = await stack.enter_async_context(redis())
        here, url = await stack.enter_async_context(target())
        workers = [
            await stack.enter_async_context(worker(redis_url, inngest_url=url))
            for _ in range(WORKERS)
        ]
        began = time.monotonic()
        await asyncio.gather(
            *(_commands(workers[n % WORKERS][0], f"key-{n}") for n in range(KEYS))
        )
        await asyncio.sleep(max(0.0, away_s - (time.monotonic() - began)))
        took_s = time.monotonic() - began
        here.away = False
        returned = time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            await here.complete.wait()
        after_s = time.monotonic() - returned
    name = f"{EFFECTS:,} effects, target away {took_s:.0f} s"
    return [
        Figure(
            f"{name}: attempts",
            f"{here.attempts}, {here.attempts / took_s:.2f} /s",
            "",
            None,
            "at most 1 /s",
        ),
        Figure(
            f"{name}: last one after its return", f"{after_s:.1f} s", "", None, "at most 60 s"
        ),
        Figure(f"{name}: requests", f"{here.requests}", "", None, ""),
        Figure(f"{name}: lost, twice, disordered", f"{_wrong(here.events)}", "", None, "0"),
    ]


async def _commands(url: str, key: str) -> None:
    async with connected(url) as client:
        topic = f"bench:{key}"
        await client.join(topic)
        for n in range(EFFECTS // KEYS):
            message = {"pad": "", "message_id": f"{key}/{n}"}
            await client.push(topic, "write", message)


def _wrong(events: list[JSON]) -> int:
    """Count events that are missing, come twice, or before an earlier one of their key."""
    found: dict[str, list[int]] = defaultdict(list)
    for event in events:
        key, _, n = event["id"].partition("/")
        found[key].append(int(n))
    expected = list(range(EFFECTS // KEYS))
    return sum(found[f"key-{n}"] != expected for n in range(KEYS))
