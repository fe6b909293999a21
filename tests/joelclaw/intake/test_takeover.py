"""Take and release as commands, on a running bridge and joelclaw's Redis, under its burst."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from bridge.bench.burst import Burst, ClassicReader, push
from bridge.joelclaw.intake.in_flight import LIST
from bridge.joelclaw.intake.takeover import until_held
from bridge.journal.redis import RedisJournal
from bridge.redis.commands import connect
from tests.deadline import DEADLINE_S, until
from tests.redis_server import RedisServer
from tests.running import ALONE, Up, bridge

OUTLET = {"BRIDGE_OUTLET": "session:operator"}


@pytest.fixture
def joelclaw() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def started(directory: Path, joelclaw: RedisServer, **changes: str) -> Up:
    """Start a bridge whose outlet is a registered session of joelclaw's."""

    async def register() -> None:
        client = connect(joelclaw.url, "operator")
        await client.sadd("joelclaw:gateway:sessions", "operator")
        await client.aclose()

    asyncio.run(register())
    settings = {"BRIDGE_JOELCLAW_REDIS_URL": joelclaw.url, **ALONE, **OUTLET, **changes}
    return Up(directory, **settings)


async def following(up: Up) -> AsyncGenerator[list[str], None]:
    """Yield the ids of the events in the journal so far, in order of commit, again and again.

    Without duplicates: a writer whose Redis was killed does not know whether its push was done,
    and repeats it.
    """
    journal = RedisJournal(up.run["redis_url"])
    found: list[str] = []
    after = ""
    try:
        while True:
            while page := await journal.entries("triage", after):
                found += [
                    entry["request"]["event"]["id"]
                    for _, entry in page
                    if entry["operation"] == "receive"
                    and entry["reply"]["decision"] != "duplicate"
                ]
                after = page[-1][0]
            yield found
    finally:
        await journal.close()


async def received(up: Up) -> list[str]:
    """Return the ids of the events in the journal."""
    async with aclosing(following(up)) as seen:
        return await anext(seen)


async def waiting(joelclaw: RedisServer) -> list[str]:
    """Return the ids that wait in joelclaw's list, the oldest first."""
    client = connect(joelclaw.url, "test")
    try:
        items: Any = await client.lrange(LIST, 0, -1)
        return [json.loads(item)["id"] for item in reversed(items)]
    finally:
        await client.aclose()


def test_a_take_needs_an_outlet_and_somebody_who_receives_there(
    tmp_path: Path, joelclaw: RedisServer
) -> None:
    url = {"BRIDGE_JOELCLAW_REDIS_URL": joelclaw.url}
    with Up(tmp_path / "a", **ALONE, **url):
        done = bridge(tmp_path / "a", "joelclaw", "take", "--yes")
        assert done.returncode == 1
        assert "no outlet: what `triage` decides would reach nobody" in done.stderr
    with Up(tmp_path / "b", **ALONE, **url, **OUTLET):
        done = bridge(tmp_path / "b", "joelclaw", "take", "--yes")
        assert done.returncode == 1
        assert "nobody receives at session:operator. What counts is a member of " in done.stderr
        assert "joelclaw:gateway:sessions called operator;" in done.stderr
        asked = bridge(tmp_path / "b", "joelclaw", "take", "--anyway")
        assert asked.returncode == 2
        assert "ask with --yes" in asked.stderr
        taken = bridge(tmp_path / "b", "joelclaw", "take", "--anyway", "--yes")
        assert taken.returncode == 0, taken.stderr
        assert "taken: worker " in taken.stdout
        assert "nobody will do from then on" in taken.stdout
        assert "BRIDGE_TERMINAL_PORT gives" in taken.stdout


def test_a_daemon_that_still_listens_is_named_with_the_way_to_end_it(
    tmp_path: Path, joelclaw: RedisServer
) -> None:
    async def scenario(up: Up) -> None:
        async def handle(id: str) -> None: ...

        reader = ClassicReader(joelclaw.url, handle)
        reading = asyncio.create_task(reader.run())
        client = connect(joelclaw.url, "test")

        async def listens() -> Any:
            return (await client.pubsub_numsub("joelclaw:notify:gateway"))[0][1]

        await until(listens, "the daemon listens")
        done = await asyncio.to_thread(bridge, up.directory, "joelclaw", "take", "--yes")
        assert done.returncode == 1
        assert "classic-doorbells, connected for" in done.stdout
        assert "kill -KILL" in done.stdout
        anyway = ("joelclaw", "take", "--yes", "--anyway")
        assert (await asyncio.to_thread(bridge, up.directory, *anyway)).returncode == 0
        for command in ("status", "doctor"):
            told = await asyncio.to_thread(bridge, up.directory, command)
            assert "somebody else listens for the gateway's events" in told.stdout + told.stderr
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await reader.close()
        await client.aclose()

    with started(tmp_path, joelclaw) as up:
        asyncio.run(scenario(up))


def test_a_bridge_that_has_lost_its_outlet_takes_nothing_and_says_so(
    tmp_path: Path, joelclaw: RedisServer
) -> None:
    async def push_one() -> None:
        client = connect(joelclaw.url, "test")
        await push(client, "a")
        await client.aclose()

    with started(tmp_path, joelclaw):
        assert bridge(tmp_path, "joelclaw", "take", "--yes").returncode == 0
    asyncio.run(push_one())
    with started(tmp_path, joelclaw, BRIDGE_OUTLET="") as up:
        told = bridge(tmp_path, "status").stderr
        assert "no worker takes them: is the bridge running, with BRIDGE_OUTLET?" in told
        assert bridge(tmp_path, "joelclaw", "release").returncode == 0
        assert asyncio.run(received(up)) == []
        assert asyncio.run(waiting(joelclaw)) == ["a"]


@pytest.mark.slow
def test_the_burst_is_whole_though_workers_are_killed_and_redis_restarts(
    tmp_path: Path, joelclaw: RedisServer
) -> None:
    burst = Burst()

    async def trouble(up: Up) -> None:
        for number in range(2):
            await until_so_many(up, burst.events // 10 + number * burst.events // 4)
            holder = await holder_of(joelclaw)
            os.kill(int(holder.partition("-")[0]), signal.SIGKILL)
        await until_so_many(up, burst.events // 2)
        joelclaw.restart()

    async def scenario(up: Up) -> list[str]:
        ids, _ = await asyncio.gather(burst.write(joelclaw.url), trouble(up))
        await until_so_many(up, burst.events)
        return ids

    with started(tmp_path, joelclaw) as up:
        assert bridge(tmp_path, "joelclaw", "take", "--yes").returncode == 0
        ids = asyncio.run(scenario(up))
        got = asyncio.run(received(up))
        assert sorted(got) == sorted(set(ids))  # each once
        assert len(got) == burst.events
        assert bridge(tmp_path, "joelclaw", "release").returncode == 0
        assert asyncio.run(waiting(joelclaw)) == []


@pytest.mark.slow
def test_taking_and_releasing_ten_times_under_load_loses_nothing_and_keeps_the_order(
    tmp_path: Path, joelclaw: RedisServer
) -> None:
    async def write(stop: asyncio.Event) -> list[str]:
        client = connect(joelclaw.url, "writer")
        ids: list[str] = []
        while not stop.is_set():
            ids.append(await push(client, f"e{len(ids):05}"))
            await asyncio.sleep(random.uniform(0, 0.02))
        await client.aclose()
        return ids

    async def scenario(up: Up) -> None:
        stop = asyncio.Event()
        writing = asyncio.create_task(write(stop))
        for _ in range(10):
            before = len(await received(up))
            taken = await asyncio.to_thread(bridge, up.directory, "joelclaw", "take", "--yes")
            assert taken.returncode == 0, taken.stderr
            await until_so_many(up, before + 20)
            released = await asyncio.to_thread(bridge, up.directory, "joelclaw", "release")
            assert released.returncode == 0, released.stderr
            assert "nothing is in flight" in released.stdout
            got, left = await received(up), await waiting(joelclaw)
            whole = [f"e{n:05}" for n in range(len(got) + len(left))]
            assert got + left == whole
        stop.set()
        ids = await writing
        assert await received(up) + await waiting(joelclaw) == ids

    with started(tmp_path, joelclaw) as up:
        asyncio.run(scenario(up))


async def holder_of(joelclaw: RedisServer) -> str:
    client = connect(joelclaw.url, "test")
    try:
        return await until_held(client)
    finally:
        await client.aclose()


async def until_so_many(up: Up, count: int) -> None:
    """Wait for so many events in the journal."""
    async with asyncio.timeout(4 * DEADLINE_S), aclosing(following(up)) as seen:
        async for ids in seen:
            if len(ids) >= count:
                return
            await asyncio.sleep(0.02)
