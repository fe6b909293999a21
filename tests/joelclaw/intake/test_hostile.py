"""The intake on a Redis that is full, forgets, or holds what nobody expects: nothing is lost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from redis.exceptions import ResponseError

from bridge.joelclaw.intake.in_flight import IN_FLIGHT, LEASE, LIST, WORKERS, InFlight
from bridge.joelclaw.intake.takeover import TakenAgain, intake_status, release, take
from bridge.joelclaw.sessions import INTAKE
from bridge.journal.redis import RedisJournal
from tests.deadline import until
from tests.joelclaw.intake.world import World, event, run

WIDE = {"text": "x" * 20_000}


# -- keys of another kind ---------------------------------------------------------------------
def test_a_list_that_is_none_loses_nothing_of_the_other() -> None:
    async def test(world: World) -> None:
        await world.push(event("m"), session="main")
        await world.theirs.set(LIST, "no list")
        world.start("one")
        await until(lambda: world.telemetry.counts().get("intake_away"), "it was missed")
        await world.kill("one")
        await world.theirs.delete(LIST)
        world.start("two")
        assert await world.until_received(1) == ["m"]

    run(test)


def test_a_key_of_another_kind_is_named() -> None:
    async def test(world: World) -> None:
        await world.theirs.set(LIST, "no list")
        with pytest.raises(ResponseError, match=f"{LIST} is a string, expected a list"):
            await InFlight(world.theirs, "one").take(["id"])

    run(test)


def test_a_count_that_is_no_number_loses_no_event() -> None:
    async def test(world: World) -> None:
        await world.theirs.hset(INTAKE, "items", "many")
        await world.push(event("a"))
        with pytest.raises(ResponseError):
            await InFlight(world.theirs, "one").take(["id"])
        assert await world.waiting() == ["a"]

    run(test)


def test_what_a_dead_worker_left_survives_what_another_left_wrong() -> None:
    async def test(world: World) -> None:
        left = b"7 an-id gateway " + json.dumps(event("a")).encode()
        await world.theirs.sadd(WORKERS, "dead", "odd")
        await world.theirs.rpush(IN_FLIGHT + "dead", left)
        await world.theirs.set(IN_FLIGHT + "odd", "no list")
        with pytest.raises(ResponseError, match="inflight:odd is a string, expected a list"):
            await InFlight(world.theirs, "one").take(["id"])
        assert await world.in_flight("dead") == [left]

    run(test)


def test_what_is_no_entry_is_kept_in_the_quarantine() -> None:
    async def test(world: World) -> None:
        await world.theirs.sadd(WORKERS, "odd", "dead")
        await world.theirs.rpush(IN_FLIGHT + "odd", b"\xff")
        await world.theirs.rpush(
            IN_FLIGHT + "dead", b"7 an-id gateway " + json.dumps(event("a")).encode()
        )
        world.start("one")
        assert await world.until_received(1) == ["a"]
        item = await world.until_quarantined()
        assert item.as_bytes() == b"\xff"
        await until(lambda: nothing_in_flight(world), "nothing is in flight")

    run(test)


def test_a_state_nobody_knows_ends_no_worker() -> None:
    async def test(world: World) -> None:
        await world.theirs.hset(INTAKE, "state", b"\xff")
        world.start("one")
        await until(lambda: asked(world), "it asked")
        await take(world.theirs)
        await world.push(event("a"))
        assert await world.until_received(1) == ["a"]

    run(test)


# -- a Redis that is full, or comes back empty ------------------------------------------------
def test_a_full_redis_is_emptied() -> None:
    async def test(world: World) -> None:
        ids = [f"e{n}" for n in range(120)]
        await world.push(*(event(id, payload=WIDE) for id in ids))
        await fill(world)
        world.start("one")
        assert await world.until_received(len(ids)) == ids

    run(test)


def test_a_full_redis_is_given_back() -> None:
    async def test(world: World) -> None:
        ids = [f"e{n}" for n in range(20)]
        await world.push(*(event(id, payload=WIDE) for id in ids))
        await InFlight(world.theirs, "dead").take([f"m{n}" for n in range(10)])
        await world.theirs.delete(LEASE)
        await fill(world)
        assert (await release(world.theirs, world.journal)).given_back == 10
        assert await world.waiting() == ids
        assert (await intake_status(world.theirs)).state == "free"

    run(test)


async def fill(world: World) -> None:
    used: Any = (await world.theirs.info("memory"))["used_memory"]
    await world.theirs.config_set("maxmemory", used // 2)


def test_a_redis_that_forgot_is_told_again_that_the_bridge_takes() -> None:
    async def test(world: World) -> None:
        world.start("one")
        world.start("two")
        await world.push(event("a"))
        await world.until_received(1)
        await world.theirs.flushall()
        await world.push(event("b"))
        assert await world.until_received(2) == ["a", "b"]
        assert world.telemetry.counts()["intake_taken_again"] == 1
        await release(world.theirs, world.journal)
        await world.push(event("c"))
        await world.theirs.config_resetstat()
        await until(lambda: asked(world), "a worker asked again")
        assert await world.waiting() == ["c"]

    run(test)


def test_large_events_are_taken_a_few_at_a_time() -> None:
    async def test(world: World) -> None:
        large = {"text": "x" * 700_000}
        await world.push(*(event(f"e{n}", payload=large) for n in range(5)))
        in_flight = InFlight(world.theirs, "one")
        assert len((await in_flight.take(["1", "2", "3", "4", "5"])).entries) == 2
        assert (await in_flight.take([])).entries == []  # that only renews the lease

    run(test)


# -- releasing --------------------------------------------------------------------------------
def test_a_release_does_not_wait_for_the_bridges_redis() -> None:
    async def test(world: World) -> None:
        ids = [f"e{n}" for n in range(5)]
        await world.push(*map(event, ids))
        world.own.kill9()
        world.start("one")
        await until(lambda: world.telemetry.counts().get("intake_owner_away"), "it tried")
        released = await release(world.theirs, world.journal)
        assert released.unchecked
        assert await world.waiting() == ids
        assert await nothing_in_flight(world)

    run(test)


def test_a_take_in_the_middle_of_a_release_stands() -> None:
    async def test(world: World) -> None:
        class Slow(RedisJournal):
            async def read(self, *arguments: Any) -> Any:
                await take(world.theirs)
                return await super().read(*arguments)

        await world.push(event("a"))
        await InFlight(world.theirs, "dead").take(["m"])
        await world.theirs.delete(LEASE)
        slow = Slow(world.own.url)
        with pytest.raises(TakenAgain):
            await release(world.theirs, slow)
        await slow.close()
        assert (await intake_status(world.theirs)).state == "taken"
        assert await world.waiting() == ["a"]

    run(test)


def test_two_releases_at_once_both_succeed() -> None:
    async def test(world: World) -> None:
        await world.push(*(event(f"e{n}") for n in range(5)))
        world.start("one")
        await world.until_received(1)
        releases = [release(world.theirs, world.journal) for _ in range(8)]
        await asyncio.gather(*releases)
        assert (await intake_status(world.theirs)).state == "free"

    run(test)


async def asked(world: World) -> bool:
    stats: Any = await world.theirs.info("commandstats")
    return "cmdstat_evalsha" in stats and not world.running["one"].done()


async def nothing_in_flight(world: World) -> bool:
    return (await intake_status(world.theirs)).in_flight == 0
