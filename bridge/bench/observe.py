"""`bridge observe`: that it misses nothing, what it holds in memory, what it costs Redis."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import hiredis
import orjson
from redis.asyncio import Redis

from bridge.bench.burst import push
from bridge.bench.figures import Figure, compare
from bridge.bench.processes import START_S, CannotMeasure, redis, rss_bytes
from bridge.joelclaw.envelopes import Envelopes
from bridge.joelclaw.intake.in_flight import DOORBELLS, LIST
from bridge.joelclaw.sessions import SESSION, SESSIONS
from bridge.observe.fates import Fates
from bridge.observe.keys import MESSAGES
from bridge.observe.monitor import concerns, parse
from bridge.observe.observer import Limits, fault_by
from bridge.redis.address import Address
from bridge.redis.commands import connect

WRITERS = 10
PER_SECOND = 1_000
PACED_S = 20
EVENTS = 100_000
WARM = 10_000  # events after which memory is looked at first
TURNS = 5
TURN_S = 2.0
CONNECTIONS = 8
PIPELINED = 32  # divides EVENTS less the paced ones, and PARSED
PARSED = 19_200  # events whose lines are read


async def observe() -> list[Figure]:
    async with redis("everysec") as url:
        figures = await _watched(url)
    async with redis("everysec") as url:
        figures += [await _cost(url), await _lines(url)]
    return figures


async def _watched(url: str) -> list[Figure]:
    """Push 1,000 events a second, then the rest as fast as the writers can; count them."""
    async with _observer(url) as observer, _reader(url):
        writers = _Writers(url)
        first = PER_SECOND * PACED_S
        await writers.push(WARM, PER_SECOND)
        warm_mb = rss_bytes(observer.process.pid) / 1e6
        await writers.push(first - WARM, PER_SECOND)
        paced = await observer.seen(first)
        await writers.push_fast(EVENTS - first)
        seen = await observer.seen(EVENTS)
        mb = rss_bytes(observer.process.pid) / 1e6
        await writers.close()
    return [
        _count(f"events observed at {PER_SECOND:,} pushes a second", paced, first),
        _count("events observed of all", seen, EVENTS),
        Figure(
            f"observer's memory after {EVENTS:,} and {WARM:,} events",
            f"{mb:.1f} MB",
            f"{warm_mb:.1f} MB",
            mb / warm_mb,
            "at most 1.1",
        ),
    ]


async def _cost(url: str) -> Figure:
    """Compare what Redis executes at full load with and without an observer."""
    turns = []
    for turn in range(TURNS + 1):
        async with _observer(url):
            observed = await _sets_per_s(url)
        alone = await _sets_per_s(url)
        if turn:  # the first one warms up
            turns.append((observed, alone))
    name = f"SETs of Redis at full load ({CONNECTIONS} x {PIPELINED}), observed and not"
    return compare(name, turns, "/s", "none: what the warning is about")


async def _lines(url: str) -> Figure:
    """Compare reading the stream and following every event with reading the stream alone."""
    stream = await _recorded(url)
    turns = []
    for _ in range(TURNS):
        fates = Fates(fault_by(Envelopes.load()))
        fates.begin(0, {}, "active")
        started = time.perf_counter()
        count = 0
        for line in _read(stream):
            count += 1
            if concerns(line) and (command := parse(line)):
                fates.see(command)
        followed_s = time.perf_counter() - started
        started = time.perf_counter()
        assert sum(1 for _ in _read(stream)) == count
        turns.append((count / followed_s, count / (time.perf_counter() - started)))
    goal = f"at least {Limits().commands_per_s:,} /s, the limit"
    return compare("lines of MONITOR, followed, and only read (hiredis)", turns, "/s", goal)


def _count(name: str, subject: int, peer: int) -> Figure:
    return Figure(name, f"{subject:,} events", f"{peer:,} events", subject / peer, "exactly 1")


class _Writers:
    """Push as joelclaw's services do, from ten connections."""

    def __init__(self, url: str) -> None:
        self._clients = [connect(url, "writer") for _ in range(WRITERS)]
        self._numbers = itertools.count()

    async def push(self, count: int, per_second: int) -> None:
        """Push one after the other on each connection, at a steady rate over all."""
        begin = time.monotonic()

        async def one(client: Redis, place: int) -> None:
            for turn in range(count // WRITERS):
                due = begin + (turn * WRITERS + place) / per_second
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await push(client, f"bench-{next(self._numbers)}")

        await asyncio.gather(*(one(client, n) for n, client in enumerate(self._clients)))

    async def push_fast(self, count: int) -> None:
        """Push the same commands, many in one write."""
        for _ in range(count // PIPELINED):
            pipeline = self._clients[0].pipeline(transaction=False)
            for _ in range(PIPELINED):
                event: dict[str, Any] = {
                    "id": f"bench-{next(self._numbers)}",
                    "type": "bench",
                    "source": "bench",
                }
                event |= {"payload": {}, "ts": 1795380404972}
                pipeline.smembers(SESSIONS)
                pipeline.lpush(LIST, orjson.dumps(event))
                pipeline.publish(DOORBELLS[0], "{}")
            await pipeline.execute()

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


class _Observer:
    """The command, as a process; counts what is in its recording."""

    def __init__(self, process: asyncio.subprocess.Process, recording: Path) -> None:
        self.process = process
        self._recording = recording

    async def seen(self, expected: int) -> int:
        """Count the events recorded; wait for more as long as more come."""
        count, before = 0, -1
        while count < expected and count > before:
            before = count
            await asyncio.sleep(3)
            text = await asyncio.to_thread(self._recording.read_bytes)
            count = text.count(b'"session":')
        return count


@asynccontextmanager
async def _observer(url: str) -> AsyncIterator[_Observer]:
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder:
        recording, said = Path(folder, "recording.ndjson"), Path(folder, "stderr")
        command = ("observe", "--redis", url, "--record", str(recording), "--json")
        with open(said, "wb") as errors:  # noqa: ASYNC230 - a file of our own
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bridge", *command, "--max-commands", "1000000000"),
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        try:
            deadline = time.monotonic() + START_S
            while not await asyncio.to_thread(_begun, recording):
                if process.returncode is not None or time.monotonic() > deadline:
                    text = await asyncio.to_thread(said.read_text)
                    raise CannotMeasure(f"bridge observe does not start:\n{text[-1500:]}")
                await asyncio.sleep(0.05)
            yield _Observer(process, recording)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            await process.wait()


def _begun(recording: Path) -> bool:
    return recording.exists() and recording.stat().st_size > 0


@asynccontextmanager
async def _reader(url: str) -> AsyncIterator[None]:
    """Read as the daemon does, one prompt for all that is there."""
    client = connect(url, "reader")
    await client.sadd(SESSIONS, SESSION)

    async def run() -> None:
        while True:
            items: Any = await client.lrange(LIST, 0, -1)
            if items:
                ids = [orjson.loads(item)["id"] for item in items]
                metadata = orjson.dumps({"eventCount": len(ids), "eventIds": ids})
                fields: Any = {"source": SESSION, "prompt": "", "metadata": metadata}
                await client.xadd(MESSAGES, fields, maxlen=100)
                await client.delete(LIST)
            await asyncio.sleep(0.01)

    reading = asyncio.create_task(run())
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await client.aclose()


async def _sets_per_s(url: str) -> float:
    """Keep Redis as busy as it can be for a while."""
    address = Address.parse(url)
    request = b"SET bench x\r\n" * PIPELINED
    answers = len(b"+OK\r\n") * PIPELINED
    until = time.monotonic() + TURN_S

    async def one() -> int:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        count = 0
        while time.monotonic() < until:
            writer.write(request)
            await reader.readexactly(answers)
            count += PIPELINED
        writer.close()
        return count

    started = time.monotonic()
    counts = await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return sum(counts) / (time.monotonic() - started)


async def _recorded(url: str) -> bytes:
    """Return what MONITOR shows of many pushes."""
    address = Address.parse(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"MONITOR\r\n")
    await reader.readexactly(len(b"+OK\r\n"))
    parts: list[bytes] = []

    async def collect() -> None:
        while part := await reader.read(1_000_000):
            parts.append(part)

    collecting = asyncio.create_task(collect())
    async with _reader(url):
        writers = _Writers(url)
        await writers.push_fast(PARSED)
        await writers.close()
        await asyncio.sleep(0.5)
    writer.close()
    collecting.cancel()
    await asyncio.gather(collecting, return_exceptions=True)
    return b"".join(parts)


def _read(stream: bytes) -> Any:
    replies = hiredis.Reader()
    for start in range(0, len(stream), 262_144):
        replies.feed(stream[start : start + 262_144])
        while (line := replies.gets()) is not False:
            yield line
