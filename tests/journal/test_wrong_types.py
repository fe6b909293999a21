"""A key of the bridge's that somebody wrote another type to: it alone fails, and is named."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis

from bridge.errors import BridgeError
from bridge.journal.redis import RedisJournal
from bridge.journal.values import Damaged, Timer
from tests.deadline import until
from tests.journal.case import SUBSYSTEM, emit, ids, inngest, prepare, schedule
from tests.redis_server import RedisServer, executables

PREFIX = "joelclaw:bridge:{counter}:"
EFFECTS = (emit(), inngest(), schedule())
# What is damaged, by what the bridge keeps there; `k` is a key, `m1` what was committed to it.
OF_A_KEY = {
    "state:k": "hash",
    "lane:k": "list",
    "claim:k": "hash",
    "timer:k\nlater": "hash",
    "done:m1": "string",
}
OF_A_SUBSYSTEM = {
    "route": "hash",
    "keys": "set",
    "journal": "stream",
    "events": "stream",
    "events:count": "string",
    "ready": "zset",
    "timers": "zset",
    "held:call": "set",
    "unfinished": "set",
    "dead": "zset",
    "deliveries": "stream",
    "outlet": "string",
    "damaged": "set",
}


@pytest.fixture(scope="module", params=sorted(executables()))
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(binary=executables()[request.param], appendfsync="no") as server:
        yield server


@pytest.fixture
def control(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url, decode_responses=True) as control:
        control.flushall()
        yield control


@contextlib.asynccontextmanager
async def opened(server: RedisServer) -> AsyncIterator[RedisJournal]:
    """Open a journal with two subsystems, and in each one commit of one key."""
    journal = RedisJournal(server.url)
    try:
        for subsystem in (SUBSYSTEM, "other"):
            await journal.ensure_route(subsystem, "python", None)
            commit = await prepare(journal, "m1", *EFFECTS, subsystem=subsystem)
            assert (await journal.commit(commit, 5000)).status == "committed"
        yield journal
    finally:
        await journal.close()


def damage(control: redis.Redis, key: str, type_: str) -> None:
    control.delete(PREFIX + key)
    if type_ == "string":
        control.lpush(PREFIX + key, "not the bridge's")
    else:
        control.set(PREFIX + key, "not the bridge's")


async def all_calls(journal: RedisJournal, subsystem: str, key: str, id_: str) -> list[Any]:
    """Make every call there is, with its result or its error."""

    async def commit() -> str:
        return (
            await journal.commit(
                await prepare(journal, id_, *EFFECTS, subsystem=subsystem, key=key), 5000
            )
        ).status

    async def claim() -> list[str]:
        claimed = await journal.claim(subsystem, ("inngest",), 10, 1, together=10)
        for lane in {entry.lane: entry for entry in claimed}.values():
            await journal.fail(lane, "no", 0, 9)
        return ids(claimed)

    async def fire() -> list[str]:
        due = await journal.due_timers(subsystem, 10, 1)
        for timer in due:
            await journal.fail_timer(timer, "no", 0, 9)
        return [timer.id for timer in due]

    deliveries = journal.deliveries(subsystem)
    calls = (
        *(commit(), journal.read(subsystem, key, id_), claim(), fire()),
        *(journal.tally(subsystem), journal.outbox(subsystem), journal.timers(subsystem)),
        *(journal.dead(subsystem), journal.entries(subsystem), journal.keys(subsystem)),
        *(journal.last_position(subsystem), journal.events_after(subsystem, "0-0")),
        *(journal.events_after(subsystem, "0-0", wait_ms=1), journal.trim(subsystem, "0-0")),
        *(deliveries.hold("t", 1000), deliveries.waiting(), deliveries.arrived(1)),
        *(journal.routes(), journal.route_log(subsystem), journal.unfinished(subsystem)),
    )
    return [await asyncio.gather(call, return_exceptions=True) for call in calls]


def errors_of(results: list[Any]) -> list[BaseException]:
    return [each for (each,) in results if isinstance(each, BaseException)]


@pytest.mark.parametrize(("key", "type_"), [*OF_A_KEY.items(), *OF_A_SUBSYSTEM.items()])
def test_a_damaged_key_fails_what_needs_it_and_nothing_else(
    key: str, type_: str, server: RedisServer, control: redis.Redis
) -> None:
    async def scenario() -> None:
        async with opened(server) as journal:
            damage(control, key, type_)
            for n in range(2):  # again, with what the first round left
                found = errors_of(await all_calls(journal, SUBSYSTEM, "k", f"m1{n or ''}"))
                for error in found:
                    assert isinstance(error, Damaged), repr(error)
                    assert error.code == "storage_unavailable"
                    actual = "list" if type_ == "string" else "string"
                    assert error.detail["expected"] == type_
                    assert error.detail["actual"] == actual
                    assert error.detail["redis_key"].startswith(PREFIX + key.split("\n")[0])
                assert errors_of(await all_calls(journal, "other", "k", f"m2{n}")) == []
            if key in OF_A_KEY:
                found = errors_of(await all_calls(journal, SUBSYSTEM, "another", "m3"))
                assert found == []
                assert "m3/1" in ids(await journal.outbox(SUBSYSTEM))
            for state in control.keys(f"{PREFIX}state:*"):
                if control.type(state) == "hash":
                    assert control.hget(state, "open") in (None, ""), "half a commit"
            if key == "damaged":
                with pytest.raises(Damaged):
                    await journal.damaged(SUBSYSTEM)
                return
            named = [each.detail["redis_key"] for each in await journal.damaged(SUBSYSTEM)]
            if control.type(PREFIX + key) == type_:  # a timer that was set anew
                assert named == []
            else:
                assert named == [PREFIX + key]
            control.delete(PREFIX + key)
            assert await journal.damaged(SUBSYSTEM) == []

    asyncio.run(scenario())


def test_effects_and_timers_behind_a_damaged_one_come(
    server: RedisServer, control: redis.Redis
) -> None:
    async def scenario() -> None:
        async with opened(server) as journal:
            commit = await prepare(journal, "m2", *EFFECTS, key="another")
            await journal.commit(commit, 5000)
            damage(control, "claim:k", "hash")
            damage(control, "timer:k\nlater", "hash")
            claimed = await journal.claim(SUBSYSTEM, ("inngest",), 10, 60_000)
            assert ids(claimed) == ["m2/1"]
            due: list[Timer] = await journal.due_timers(SUBSYSTEM, 10, 60_000)
            assert [timer.key for timer in due] == ["another"]
            # It comes as well once it is put right, after the lease.
            control.delete(PREFIX + "claim:k")
            control.zadd(PREFIX + "ready", {"k": 0})
            assert ids(await journal.claim(SUBSYSTEM, ("inngest",), 10, 1)) == ["m1/1"]

    asyncio.run(scenario())


def test_a_new_connection_is_made_where_a_subsystem_is_damaged(
    server: RedisServer, control: redis.Redis
) -> None:
    async def scenario() -> None:
        async with opened(server) as journal:
            for key in ("route", "journal"):
                damage(control, key, "hash")
                control.client_kill_filter(_type="normal", skipme=True)

                async def answers() -> bool:
                    try:
                        await journal.read("other", "k")
                    except BridgeError:
                        return False
                    return True

                await until(answers)
                await journal.storage.look()
                assert await journal.storage.has_entry(SUBSYSTEM, "1-1")
                assert await journal.storage.last_entry(SUBSYSTEM) == ""

    asyncio.run(scenario())
