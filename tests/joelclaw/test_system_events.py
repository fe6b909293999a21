"""`system_event` effects on a real Redis: pushed with their doorbell, each exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import uvloop
from redis.asyncio import Redis

from bridge.dispatch import Dispatcher
from bridge.effects import Effects
from bridge.joelclaw.envelopes import Envelopes
from bridge.joelclaw.intake.takeover import take
from bridge.joelclaw.push import MARKER_MS, MARKERS, Pusher
from bridge.joelclaw.system_events import SystemEvents
from bridge.journal.memory import MemoryJournal
from bridge.journal.values import OutboxEntry
from bridge.redis.commands import connect
from bridge.targets import EffectFailed, TargetAway
from bridge.telemetry import Telemetry
from tests.deadline import DEADLINE_S, until
from tests.journal.case import prepare, system_event
from tests.proxy import DroppyProxy
from tests.redis_server import RedisServer

ATTEMPTS = 3


def entry(session: str = "agent", **payload: Any) -> OutboxEntry:
    effect = {**system_event(session), "type": "loop.complete", "payload": payload}
    return OutboxEntry(
        "m/2", "k", "counter", "k", "system_event", effect, 1_795_380_404_972, runtime="elixir"
    )


class Bench:
    """joelclaw's Redis behind a proxy, and the executor before it."""

    def __init__(self, server: RedisServer, proxy: DroppyProxy) -> None:
        self.server = server
        self.proxy = proxy
        self.telemetry = Telemetry()
        self.redis = connect(server.url, "test")
        self.pushes = connect(proxy.url, "bridge-push")
        self.execute = SystemEvents(Pusher(self.pushes, self.telemetry, "joelclaw"))

    async def events(self, session: str = "agent") -> list[Any]:
        """Return the list's events, the oldest first, held to joelclaw's contract."""
        items: Any = await self.redis.lrange(f"joelclaw:events:{session}", 0, -1)
        envelopes = Envelopes.load()
        return [envelopes.check("SystemEvent", item) for item in reversed(items)]

    async def keys(self) -> list[bytes]:
        found: Any = await self.redis.keys("*")
        return sorted(found)

    def count(self, name: str) -> int:
        return sum(n for text, n in self.telemetry.counts().items() if text.startswith(name))


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    with RedisServer() as server:
        proxy = DroppyProxy(server.port)
        await proxy.start()
        made = Bench(server, proxy)
        try:
            yield made
        finally:
            await made.redis.aclose()
            await made.pushes.aclose()
            await proxy.stop()


def run(test: Callable[[Bench], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(2 * DEADLINE_S), bench() as made:
            await test(made)

    uvloop.run(within())


@asynccontextmanager
async def doorbells(redis: Redis, session: str) -> AsyncIterator[list[Any]]:
    """Collect what is rung at a session until the end of the block."""
    rung: list[Any] = []
    async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(f"joelclaw:notify:{session}", "end")
        while not any((await redis.pubsub_numsub("end"))[0][1:]):  # noqa: ASYNC110 - Redis's
            await asyncio.sleep(0.005)
        yield rung
        await redis.publish("end", "")
        async for message in pubsub.listen():
            if message["channel"] == b"end":
                return
            rung.append(Envelopes.load().check("Doorbell", message["data"]))


def test_an_event_has_all_five_fields_and_rings_once() -> None:
    async def test(bench: Bench) -> None:
        async with doorbells(bench.redis, "agent") as rung:
            await bench.execute([entry(text="é", priority="high")])
        (event,) = await bench.events()
        assert event == {
            "id": "eef0bffe-7acb-8707-b1f5-aa22d1416649",
            "type": "loop.complete",
            "source": "bridge/elixir",
            "payload": {"text": "é", "priority": "high"},
            "ts": 1_795_380_404_972,
        }
        doorbell = {"eventId": event["id"], "type": "loop.complete", "priority": "high"}
        assert rung == [doorbell]

    run(test)


def test_a_priority_that_joelclaw_does_not_know_is_not_rung() -> None:
    async def test(bench: Bench) -> None:
        async with doorbells(bench.redis, "agent") as rung:
            await bench.execute([entry(priority="whenever")])
        assert [set(doorbell) for doorbell in rung] == [{"eventId", "type"}]

    run(test)


def test_a_repeated_effect_is_pushed_once_also_after_it_was_read() -> None:
    async def test(bench: Bench) -> None:
        async with doorbells(bench.redis, "agent") as rung:
            await bench.execute([entry()])
            await bench.execute([entry()])
            assert len(await bench.events()) == 1
            await bench.redis.ltrim("joelclaw:events:agent", 1, 0)
            await bench.execute([entry()])
        assert await bench.events() == []
        assert len(rung) == 1
        ttl = await bench.redis.pttl(MARKERS + "m/2")
        assert MARKER_MS - 60_000 < ttl <= MARKER_MS

    run(test)


def test_an_event_pushed_without_an_answer_is_not_pushed_again() -> None:
    async def test(bench: Bench) -> None:
        await bench.execute([replace(entry(), id="m/1")])
        bench.proxy.drop_next()
        with pytest.raises(TargetAway):
            await bench.execute([entry()])
        assert len(await bench.events()) == 2
        await eventually(bench, entry())
        assert len(await bench.events()) == 2

    run(test)


def test_effects_of_before_the_runtime_was_kept_are_pushed_too() -> None:
    async def test(bench: Bench) -> None:
        await bench.execute([replace(entry(), runtime="")])
        (event,) = await bench.events()
        assert event["source"] == "bridge/effects"

    run(test)


@pytest.mark.parametrize("session", ["gateway", "main"])
def test_a_list_the_bridge_takes_from_gets_nothing_of_its_own(session: str) -> None:
    async def test(bench: Bench) -> None:
        await bench.execute([entry(session)])
        assert len(await bench.events(session)) == 1
        await take(bench.redis)
        before = await bench.keys()
        with pytest.raises(EffectFailed, match="drops there what it sent itself") as failed:
            await bench.execute([replace(entry(session), id="m/3")])
        assert failed.value.final
        assert await bench.keys() == before
        assert len(await bench.events(session)) == 1

    run(test)


@pytest.mark.parametrize("session", ["pid-4711", "pid-12a", "batch"])
def test_no_list_is_made_that_joelclaw_would_delete_or_take_for_another(session: str) -> None:
    async def test(bench: Bench) -> None:
        with pytest.raises(EffectFailed) as failed:
            await bench.execute([entry(session)])
        assert failed.value.final
        assert await bench.keys() == []

    run(test)


def test_a_list_that_is_none_is_left_alone_and_leaves_no_marker() -> None:
    async def test(bench: Bench) -> None:
        await bench.redis.set("joelclaw:events:agent", "text")
        with pytest.raises(EffectFailed, match="WRONGTYPE") as failed:
            await bench.execute([entry()])
        assert not failed.value.final
        assert await bench.keys() == [b"joelclaw:events:agent"]

    run(test)


async def eventually(bench: Bench, entry: OutboxEntry) -> None:
    while True:
        try:
            return await bench.execute([entry])
        except TargetAway:
            await asyncio.sleep(0.01)


# -- an outage, with the outbox before it --------------------------------------------------------
async def commit(journal: MemoryJournal, n: int, *effects: dict[str, Any]) -> None:
    now_ms = time.time_ns() // 1_000_000
    made = await prepare(journal, f"m{n}", *effects, key=f"k{n}", now_ms=now_ms)
    assert (await journal.commit(made, 1000)).status == "committed"


def test_effects_wait_out_an_outage_without_a_storm_and_arrive_once_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(bench: Bench) -> None:
        now_ms = time.time_ns() // 1_000_000
        journal = MemoryJournal(lambda: now_ms)
        await journal.set_route("counter", "python", None)
        dispatcher = Dispatcher({}, journal, {}, bench.telemetry)  # type: ignore[arg-type] # no contracts
        effects = Effects(
            journal,
            dispatcher,
            {"system_event": bench.execute},
            ["counter"],
            bench.telemetry,
            None,
            lease_ms=10_000,
            attempts=ATTEMPTS,
            timeout_ms=2000,
        )
        bench.proxy.refuse = True
        for n in range(50):
            await commit(journal, n, system_event("agent"), system_event("agent"))
        work = asyncio.create_task(effects.run())

        async def waits(more: int) -> None:
            enough = bench.count("effect_waits") + more
            await until(lambda: bench.count("effect_waits") >= enough)

        monkeypatch.setattr("bridge.targets.LOOK_S", 0.01)
        await waits(50)
        for _ in range(2 * ATTEMPTS):  # more than an effect has that fails
            now_ms += 15_000
            await waits(1)
        assert await journal.dead("counter") == []
        assert bench.count("effect_failed") == 0
        assert bench.count("joelclaw_away") == 1
        assert bench.proxy.accepted <= 3 * ATTEMPTS  # not one for each effect
        bench.proxy.refuse = False

        async def arrived() -> list[Any]:
            nonlocal now_ms
            while len(await bench.events()) < 100:
                now_ms += 15_000
                await asyncio.sleep(0.02)
            return await bench.events()

        events = await arrived()
        assert len(events) == len({event["id"] for event in events}) == 100
        assert bench.count("joelclaw_back") == 1
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    run(test)
