"""A real Redis, writers and a reader as joelclaw's, and an observer beside them."""

from __future__ import annotations

import asyncio
import errno
import functools
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from redis.asyncio import Redis

from bridge.bench.burst import Burst, ClassicReader, push
from bridge.joelclaw.intake.in_flight import InFlight
from bridge.joelclaw.intake.takeover import take
from bridge.observe.fate import Pushed, Record
from bridge.observe.observer import CannotObserve, Limits, Observer
from bridge.observe.recording import Recording, item_of, lines
from bridge.observe.tally import Tally
from bridge.redis.address import Address
from bridge.redis.commands import connect
from bridge.telemetry import Telemetry
from tests.deadline import DEADLINE_S, until
from tests.redis_server import RedisServer

GATEWAY, SESSIONS = "joelclaw:events:gateway", "joelclaw:gateway:sessions"
MESSAGES = "joelclaw:gateway:messages"


class Observation:
    """A running observer; `end` stops it and returns why it ended early."""

    def __init__(self, url: str, path: Path, limits: Limits | None = None) -> None:
        self.telemetry = Telemetry()
        self.recording = Recording(path)
        self.observer = Observer(Address.parse(url), self.telemetry, self.recording, limits)
        self.stop = asyncio.Event()
        self.running: asyncio.Task[str] | None = None

    async def begin(self) -> None:
        await self.observer.open()
        self.running = asyncio.create_task(self.observer.run(self.stop))

    async def end(self) -> str:
        self.stop.set()
        return await self.ended()

    async def ended(self) -> str:
        assert self.running is not None
        async with asyncio.timeout(DEADLINE_S):
            why = await self.running
        self.recording.close()
        return why

    def fates(self) -> dict[str, str]:
        """Return what the recording says of each id, once it has ended."""
        ids: dict[int, str] = {}
        fates: dict[str, str] = {}
        for line in lines(self.recording.path):
            if (item := item_of(line)) is not None:
                ids[line["n"]] = json.loads(item)["id"]
            elif "fate" in line:
                fates[ids[line["n"]]] = line["fate"]
        return fates


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(scenario())


@asynccontextmanager
async def observing(
    server: RedisServer, tmp_path: Path, limits: Limits | None = None
) -> AsyncIterator[tuple[Observation, Redis]]:
    observation = Observation(server.url, tmp_path / "recording.ndjson", limits)
    client = connect(server.url, "test")
    await observation.begin()
    try:
        yield observation, client
    finally:
        if observation.running is not None:
            observation.running.cancel()
            await asyncio.gather(observation.running, return_exceptions=True)
        await client.aclose()


@asynccontextmanager
async def storing(url: str, handled: list[str]) -> AsyncIterator[None]:
    """Run a reader that needs 2 ms for an event and stores each as a prompt."""
    commands = connect(url, "store")

    async def handle(id: str) -> None:
        await asyncio.sleep(0.002)
        metadata = json.dumps({"eventCount": 1, "eventIds": [id]})
        fields = {"source": "gateway", "prompt": "…", "metadata": metadata, "timestamp": "1"}
        await commands.xadd(MESSAGES, fields)  # type: ignore[arg-type] # its mapping is invariant
        handled.append(id)

    reader = ClassicReader(url, handle)
    reading = asyncio.create_task(reader.run())
    try:
        async with connect(url, "test") as client:
            while not (await client.pubsub_numsub("joelclaw:notify:gateway"))[0][1]:  # noqa: ASYNC110 - Redis's
                await asyncio.sleep(0.005)
        yield
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await reader.close()
        await commands.aclose()


def test_every_event_is_seen_and_what_the_reader_never_got_is_lost(tmp_path: Path) -> None:
    handled: list[str] = []

    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            async with observing(server, tmp_path) as (observation, client):
                async with storing(server.url, handled):
                    pushed = await Burst(rounds=30).write(server.url)
                    await asyncio.sleep(0)
                    left = await _settled(client)
                assert await observation.end() == ""
            fates = observation.fates()
            assert fates.keys() == set(pushed)
            assert {id for id, fate in fates.items() if fate == "prompt"} == set(handled)
            assert {id for id, fate in fates.items() if fate == "waiting"} == left
            lost = set(pushed) - set(handled) - left
            assert lost
            assert {id for id, fate in fates.items() if fate == "lost"} == lost
            assert observation.observer.tally.fates["lost"] == len(lost)

    run(scenario)


async def _settled(client: Redis) -> set[str]:
    """Return the ids that stay in the list, once nothing changes any more."""
    before: Any = None
    while (now := (await client.lrange(GATEWAY, 0, -1), await client.xlen(MESSAGES))) != before:
        before = now
        await asyncio.sleep(0.2)
    return {json.loads(item)["id"] for item in before[0]}


def test_nothing_is_written_to_redis(tmp_path: Path) -> None:
    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            client = connect(server.url, "test")
            await push(client, "a")
            before = await client.info("persistence")
            async with observing(server, tmp_path) as (observation, _):
                (ours,) = [found for found in await client.client_list() if "O" in found["flags"]]
                assert ours["name"] == "bridge-observe"
                await observation.end()
            after = await client.info("persistence")
            changes = "rdb_changes_since_last_save"
            assert after[changes] == before[changes]
            await client.aclose()

    run(scenario)


def test_what_a_script_pushes_is_seen_whole(tmp_path: Path) -> None:
    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            async with observing(server, tmp_path) as (observation, client):
                item = json.dumps({"id": "é", "text": '" "\\\n\x00'})
                script = "redis.call('LPUSH', KEYS[1], ARGV[1])"
                await client.eval(script, 1, GATEWAY, item)
                await until(lambda: observation.observer.tally.events, "it is seen")
                await observation.end()
            pushed = [item_of(line) for line in lines(observation.recording.path)]
            assert item.encode() in pushed

    run(scenario)


def test_nothing_falls_between_the_lists_and_the_stream(tmp_path: Path) -> None:
    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            async with writing(server.url):
                recordings = []
                for n in range(20):
                    observation = Observation(server.url, tmp_path / f"{n}.ndjson")
                    await observation.begin()
                    tally = observation.observer.tally
                    most = tally.found + 50
                    await until(functools.partial(_seen, tally, most), "more is pushed")
                    assert await observation.end() == ""
                    recordings.append(observation.recording.path)
            async with Redis(port=server.port) as client:
                everything = (await client.lrange("joelclaw:events:main", 0, -1))[::-1]
            for path in recordings:
                seen = [item for line in lines(path) if (item := item_of(line)) is not None]
                assert len(seen) > 50
                # Each once, in order, and from the first one on not one is missing.
                assert seen == everything[: len(seen)]

    run(scenario)


def _seen(tally: Tally, most: int) -> bool:
    return tally.events >= most


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[list[str]]:
    """Let four writers push as fast as they can; yield the ids pushed so far."""
    pushed: list[str] = []
    stop, numbers = asyncio.Event(), itertools.count()

    async def write() -> None:
        client = connect(url, "writer")
        while not stop.is_set():
            pushed.append(await push(client, f"e{next(numbers)}"))
        await client.aclose()

    async with asyncio.TaskGroup() as writers:
        for _ in range(4):
            writers.create_task(write())
        try:
            yield pushed
        finally:
            stop.set()


def test_what_the_bridge_takes_and_gives_back_is_the_same_event(tmp_path: Path) -> None:
    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            async with observing(server, tmp_path) as (observation, client):
                for id in ("done", "back"):
                    await push(client, id)
                await take(client)
                in_flight = InFlight(client, "worker")
                first, second = (await in_flight.take(["m1", "m2"])).entries
                assert await in_flight.done(first)
                assert await in_flight.give_back([]) == 1
                assert json.loads(second.item)["id"] == "back"
                await client.delete(GATEWAY)
                tally = observation.observer.tally
                await until(lambda: tally.fates["lost"], "the deletion is seen")
                await observation.end()
            assert (tally.events, tally.returned) == (2, 1)
            assert observation.fates() == {"done": "bridge", "back": "lost"}

    run(scenario)


def test_another_database_is_another_joelclaw(tmp_path: Path) -> None:
    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            async with observing(server, tmp_path) as (observation, client):
                other = Redis(port=server.port, db=1)
                await push(other, "other")
                await push(client, "ours")
                await until(lambda: observation.observer.tally.events, "it is seen")
                await other.aclose()
                await observation.end()
            assert observation.fates() == {"ours": "waiting"}

    run(scenario)


def test_a_restart_is_a_gap_and_what_was_in_it_inconclusive(tmp_path: Path) -> None:
    async def scenario() -> None:
        with RedisServer() as server:
            async with observing(server, tmp_path) as (observation, client):
                await push(client, "before")
                await client.sadd(SESSIONS, "gateway")
                await push(client, "stays")
                tally, progress = observation.observer.tally, observation.observer.progress
                await until(lambda: tally.events == 2, "both are seen")
                server.kill9()
                await until(lambda: not progress.connected, "the connection is lost")
                server.restart()
                await client.delete("joelclaw:events:main")
                await until(lambda: progress.connected, "it is there again")
                await push(client, "after")
                await until(lambda: tally.events == 3, "the last is seen")
                assert await observation.end() == ""
            fates = observation.fates()
            assert fates == {"before": "inconclusive", "stays": "waiting", "after": "waiting"}
            (gap,) = observation.observer.progress.gaps
            assert 0 < gap["until_ms"] - gap["from_ms"] < DEADLINE_S * 1000
            counts = observation.telemetry.counts()
            assert (counts["observe_away"], counts["observe_back"]) == (1, 1)
            assert {"gap": gap} in lines(observation.recording.path)

    run(scenario)


def test_a_redis_that_hangs_is_given_up_and_found_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            limits = Limits(silent_s=0.5)
            async with observing(server, tmp_path, limits) as (observation, _):
                progress = observation.observer.progress
                server.stop()
                await until(lambda: not progress.connected, "it is given up")
                server.cont()
                await until(lambda: progress.connected, "it is found again")
                await observation.end()
            (gap,) = progress.gaps
            assert gap["why"].startswith("nothing came for ")

    run(scenario)


def test_without_a_redis_at_the_end_it_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            async with observing(server, tmp_path) as (observation, client):
                await push(client, "a")
                await until(lambda: observation.observer.tally.events, "it is seen")
                server.kill9()
                progress = observation.observer.progress
                await until(lambda: not progress.connected, "the connection is lost")
                why = await observation.end()
            assert why.startswith("the connection was lost and did not return: ")
            assert observation.fates() == {"a": "inconclusive"}

    run(scenario)


def test_it_stops_by_itself_when_redis_is_busy(tmp_path: Path) -> None:
    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            limits = Limits(commands_per_s=100, busy_s=1)
            async with observing(server, tmp_path, limits) as (observation, client):
                assert observation.running is not None
                async with asyncio.timeout(DEADLINE_S):
                    while not observation.running.done():
                        await client.set("k", "v")
                why = await observation.ended()
                assert why.startswith("Redis is busy: ")
                assert why.endswith(" commands a second, the limit is 100")
                last = list(lines(observation.recording.path))[-1]
                assert last["summary"]["stopped"] == why
                async with asyncio.timeout(DEADLINE_S):
                    while any("O" in found["flags"] for found in await client.client_list()):
                        pass

    run(scenario)


def test_it_does_not_begin_when_redis_is_busy_already(tmp_path: Path) -> None:
    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            client = connect(server.url, "test")
            busy = 0
            while busy <= 50:
                for _ in range(100):
                    await client.set("k", "v")
                busy = (await client.info("stats"))["instantaneous_ops_per_sec"]
            limits = Limits(commands_per_s=1)
            observation = Observation(server.url, tmp_path / "r.ndjson", limits)
            with pytest.raises(CannotObserve, match="Redis is busy"):
                await observation.begin()
            await client.aclose()

    run(scenario)


def test_it_stops_by_itself_when_it_cannot_keep_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            limits = Limits(behind_s=0.5)
            async with observing(server, tmp_path, limits) as (observation, _):
                # One script, whose lines take many seconds to read: each quote is escaped.
                item = json.dumps({"id": "a", "text": '"\\' * 200_000})
                script = (
                    "for n = 1, 30 do redis.call('LPUSH', KEYS[1], ARGV[1]) "
                    "redis.call('DEL', KEYS[1]) end"
                )
                async with connect(server.url, "slow", answer_s=None) as slow:
                    await slow.eval(script, 1, GATEWAY, item)
                why = await observation.ended()
            assert why.startswith("reading is ")
            assert why.endswith(" s behind Redis")

    run(scenario)


@pytest.mark.parametrize("grant", ["-@all", "+@all -monitor"])
def test_who_may_not_monitor_is_told_so(tmp_path: Path, grant: str) -> None:
    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            client = connect(server.url, "test")
            rules = ("on", ">secret", "~*", "&*", *grant.split())
            await client.execute_command("ACL", "SETUSER", "me", *rules)  # type: ignore[no-untyped-call] # redis-py's
            url = server.url.replace("127.0.0.1", "me:secret@127.0.0.1")
            observation = Observation(url, tmp_path / "r.ndjson")
            with pytest.raises(CannotObserve, match="NOPERM"):
                await observation.begin()
            await client.aclose()

    run(scenario)


def test_where_nobody_answers_it_does_not_begin(tmp_path: Path) -> None:
    async def scenario() -> None:
        observation = Observation("redis://127.0.0.1:1/0", tmp_path / "r.ndjson")
        with pytest.raises(CannotObserve, match=r"^127\.0\.0\.1:1: "):
            await observation.begin()

    run(scenario)


class FullDisk(Recording):
    """A recording on a disk that is full when the first event comes."""

    def record(self, record: Record) -> None:
        if isinstance(record, Pushed):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_recording_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            telemetry, recording = Telemetry(), FullDisk(tmp_path / "r.ndjson")
            observer = Observer(Address.parse(server.url), telemetry, recording)
            await observer.open()
            async with connect(server.url, "test") as client:
                await push(client, "a")
            async with asyncio.timeout(DEADLINE_S):
                why = await observer.run(asyncio.Event())
            assert why == "the recording cannot be written: No space left on device"
            recording.close()

    run(scenario)


def test_wrong_shapes_are_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        with RedisServer(appendonly=False) as server:
            async with observing(server, tmp_path) as (observation, client):
                good = {"id": "a", "type": "t", "source": "s", "payload": {}, "ts": 1795380404972}
                koko = {"type": "t", "data": {}, "source": "s", "timestamp": "2026-02-23"}
                items = [good, {**good, "ts": 1795380404}, koko, {**good, "id": ""}, {}]
                for item in items:
                    await client.lpush(GATEWAY, json.dumps(item))
                await until(lambda: observation.observer.tally.events == 5, "all are seen")
                await observation.end()
            assert sorted(observation.observer.tally.faults) == [
                "Koko's envelope (whole item breaks required)",
                "empty id (/id breaks minLength)",
                "missing id (whole item breaks required)",
                "seconds for `ts` (/ts breaks minimum)",
            ]

    run(scenario)
