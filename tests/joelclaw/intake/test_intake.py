"""The intake on two real Redises: nothing is lost, nothing counts twice, the order stays."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from bridge.joelclaw.intake.in_flight import LEASE, WORKERS
from bridge.joelclaw.intake.intake import AGENT_HEARTBEAT
from bridge.joelclaw.intake.takeover import intake_status, other_consumers, release, take
from bridge.joelclaw.sessions import SESSIONS
from bridge.message import Invocation
from tests.deadline import until
from tests.joelclaw.intake.world import World, event, run


def test_events_are_committed_once_each_the_oldest_first() -> None:
    async def test(world: World) -> None:
        ids = [f"e{n}" for n in range(120)]
        await world.push(*map(event, ids[:60]))
        world.start("one")
        await world.push(*map(event, ids[60:]))
        assert await world.until_received(120) == ids
        await until(lambda: nothing_in_flight(world), "nothing is in flight")
        assert await world.waiting() == []
        assert await world.theirs.smembers(WORKERS) == set()

    run(test)


def test_an_event_of_main_is_taken_too() -> None:
    async def test(world: World) -> None:
        await world.push(event("m"), session="main")
        world.start("one")
        assert await world.until_received(1) == ["m"]

    run(test)


def test_an_event_without_doorbell_is_found_by_the_sweep() -> None:
    async def test(world: World) -> None:
        world.start("one")
        await until(lambda: world.theirs.get(LEASE), "a worker holds the intake")
        await world.theirs.lpush("joelclaw:events:gateway", json.dumps(event("silent")))
        assert await world.until_received(1) == ["silent"]

    run(test)


def test_what_is_off_contract_is_kept_with_pointer_and_rule() -> None:
    koko = {"type": "a.b", "source": "koko", "data": {}, "timestamp": "2026-02-24T10:00:00Z"}

    async def test(world: World) -> None:
        await world.push(event("a"), json.dumps(koko).encode(), b"\xff{", event("b"))
        world.start("one")
        assert await world.until_received(2) == ["a", "b"]
        first, second = await world.quarantine.list()
        assert (first.source, first.code) == ("events:gateway", "invalid_request")
        assert (first.detail["rule"], json.loads(first.raw)) == ("required", koko)
        assert second.as_bytes() == b"\xff{"
        assert await world.waiting() == []

    run(test)


def test_half_a_character_is_mended_as_joelclaw_itself_would_take_it() -> None:
    cut = json.dumps(event("cut", payload={"prompt": "caf\u00e9 \U0001f916"}))
    cut = cut.replace("\\udd16", "")  # what JavaScript's slice leaves of it

    async def test(world: World) -> None:
        await world.push(cut.encode(), b'{"id": "a", "id": "b", "x": "\\ud83e"}')
        world.start("one")
        assert await world.until_received(1) == ["cut"]
        ((_, entry),) = await world.journal.entries("triage")
        assert entry["request"]["event"]["payload"]["prompt"] == "caf\u00e9 \ufffd"
        await world.until_quarantined()

    run(test)


def test_what_joelclaws_own_reader_takes_is_mended_and_counted() -> None:
    """`joelclaw gateway push --type "" --payload '[1]'` sends this."""

    async def test(world: World) -> None:
        await world.push(event("array", payload=[1, "two"]), event("blank", type="", source=""))
        world.start("one")
        assert await world.until_received(2) == ["array", "blank"]
        (_, array), (_, blank) = await world.journal.entries("triage")
        assert array["request"]["event"]["payload"] == {"items": [1, "two"]}
        told = blank["request"]["event"]
        assert (told["type"], told["source"]) == ("(none)", "(none)")
        assert world.telemetry.counts()["intake_mended"] == 2
        assert await world.quarantine.count() == 0

    run(test)


def test_echoes_of_our_own_are_dropped_and_counted() -> None:
    async def test(world: World) -> None:
        await world.push(event("echo", source="bridge/elixir"), event("a"))
        world.start("one")
        assert await world.until_received(1) == ["a"]
        assert world.telemetry.counts()["intake_echo"] == 1
        assert (await intake_status(world.theirs)).echoes == 1
        assert await world.quarantine.count() == 0

    run(test)


def test_nothing_is_taken_before_somebody_said_so() -> None:
    async def test(world: World) -> None:
        world.start("one")
        await world.push(event("a"))
        await until(lambda: _polled(world, 2), "the worker asked twice")
        assert await world.waiting() == ["a"]
        assert await world.theirs.exists(AGENT_HEARTBEAT, SESSIONS) == 0
        await take(world.theirs)
        assert await world.until_received(1) == ["a"]

    run(test, taken=False)


def test_only_one_worker_takes_and_another_adopts_what_it_left() -> None:
    async def test(world: World) -> None:
        stuck = asyncio.Event()

        async def hang(invocation: Invocation) -> None:
            if invocation.request["event"]["id"] == "e2":
                stuck.set()
                await asyncio.Event().wait()

        world.start("one", before=hang)
        await until(lambda: world.theirs.get(LEASE), "a worker holds the intake")
        two = world.start("two")
        await world.push(*(event(f"e{n}") for n in range(5)))
        async with asyncio.timeout(10):
            await stuck.wait()
        assert not two.holding
        assert len(await world.in_flight("one")) > 0
        await world.kill("one")
        assert await world.until_received(5) == [f"e{n}" for n in range(5)]
        assert two.holding

    run(test)


def test_what_was_committed_by_a_worker_that_died_before_removing_it_counts_once() -> None:
    async def test(world: World) -> None:
        ids = [f"e{n}" for n in range(3)]
        await world.push(*map(event, ids))
        world.start("one", dies_after="e1")
        await world.until_received(2)
        await world.kill("one")
        assert len(await world.in_flight("one")) == 2
        world.start("two")
        assert await world.until_received(3) == ids
        assert await world.waiting() == []

    run(test)


def test_a_handler_that_keeps_crashing_does_not_hold_up_the_others() -> None:
    async def test(world: World) -> None:
        async def crash(invocation: Invocation) -> None:
            if invocation.request["event"]["id"] == "poison":
                raise RuntimeError("on purpose")

        await world.push(event("a"), event("poison"), event("b"))
        world.start("one", before=crash)
        assert await world.until_received(2) == ["a", "b"]
        (item,) = await world.quarantine.list()
        assert json.loads(item.raw)["id"] == "poison"
        assert item.code == "internal"

    run(test)


def test_an_owner_that_is_away_is_waited_for() -> None:
    async def test(world: World) -> None:
        await world.journal.set_route("triage", "elixir", None)
        await world.push(event("a"))
        world.start("one")
        await until(
            lambda: world.telemetry.counts().get("intake_owner_away"), "it has tried in vain"
        )
        await world.journal.set_route("triage", "python", None)
        assert await world.until_received(1) == ["a"]
        assert world.telemetry.counts()["intake_owner_away"] == 1
        assert await world.quarantine.count() == 0

    run(test)


def test_a_worker_that_leaves_gives_back_what_it_had_not_begun() -> None:
    async def test(world: World) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def wait(invocation: Invocation) -> None:
            begun.set()
            await go_on.wait()

        ids = [f"e{n}" for n in range(5)]
        await world.push(*map(event, ids))
        world.start("one", before=wait)
        await begun.wait()
        ending = asyncio.create_task(world.end("one"))
        await world.push(event("later"))
        await asyncio.sleep(0)
        go_on.set()
        await ending
        assert await world.received() == ["e0"]
        assert await world.waiting() == [*ids[1:], "later"]
        assert await world.theirs.get(LEASE) is None

    run(test)


def test_a_release_puts_back_in_order_and_leaves_nothing_in_flight() -> None:
    async def test(world: World) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def wait(invocation: Invocation) -> None:
            begun.set()
            await go_on.wait()

        ids = [f"e{n}" for n in range(8)]
        await world.push(event("m"), session="main")
        await world.push(*map(event, ids))
        one = world.start("one", before=wait)
        await begun.wait()
        releasing = asyncio.create_task(release(world.theirs, world.journal))
        await until(lambda: one._told.is_set(), "the worker was told")
        go_on.set()
        await releasing
        assert await world.received() == ["m"]
        assert await world.waiting() == ids
        assert (await intake_status(world.theirs)).in_flight == 0
        assert (await intake_status(world.theirs)).state == "free"

    run(test)


def test_a_release_does_not_need_the_worker_that_held_it() -> None:
    async def test(world: World) -> None:
        await world.push(*(event(f"e{n}") for n in range(4)))
        world.start("one", dies_after="e1")
        await world.until_received(2)
        await world.kill("one")
        released = await release(world.theirs, world.journal)
        assert (released.given_back, released.unchecked) == (2, False)
        assert await world.waiting() == ["e2", "e3"]  # e1 was committed, and only not removed

    run(test)


def test_a_redis_that_restarts_is_waited_for_and_said_so_once() -> None:
    async def test(world: World) -> None:
        world.start("one")
        await world.push(event("before"))
        await world.until_received(1)
        world.joelclaw.kill9()
        await until(lambda: world.telemetry.counts().get("intake_away"), "it was missed")
        world.joelclaw.restart()
        await until(lambda: _answers(world), "Redis answers again")
        await world.push(event("after"))
        assert await world.until_received(2) == ["before", "after"]
        await until(lambda: world.telemetry.counts().get("intake_back"), "its return was said")
        counts = world.telemetry.counts()
        assert (counts["intake_away"], counts["intake_back"]) == (1, 1)

    run(test)


def test_while_the_bridges_redis_is_away_events_stay_where_they_are() -> None:
    async def test(world: World) -> None:
        world.start("one")
        await world.push(event("a"))
        await world.until_received(1)
        world.own.kill9()
        await world.push(event("b"), b"{}")
        await until(
            lambda: world.telemetry.counts().get("intake_owner_away"), "the journal was missed"
        )
        world.own.restart()
        assert await world.until_received(2) == ["a", "b"]
        await world.until_quarantined()

    run(test)


def test_a_second_listener_is_named_and_our_own_are_not() -> None:
    async def test(world: World) -> None:
        world.start("one")
        await until(lambda: world.theirs.get(LEASE), "a worker holds the intake")
        assert await other_consumers(world.theirs) == []
        async with world.theirs.pubsub() as pubsub:
            await pubsub.subscribe("joelclaw:notify:gateway")
            await pubsub.get_message(timeout=5)
            (other,) = await other_consumers(world.theirs)
            assert " test, connected for" in other

    run(test)


def test_the_sign_of_life_of_the_gateway_expires_with_it() -> None:
    async def test(world: World) -> None:
        world.start("one")
        await until(lambda: world.theirs.get(AGENT_HEARTBEAT), "it is there")
        life: Any = await world.theirs.get(AGENT_HEARTBEAT)
        assert json.loads(life)["state"] == "running"
        assert 0 < await world.theirs.pttl(AGENT_HEARTBEAT) <= 60_000
        assert await world.theirs.smembers(SESSIONS) == {b"gateway"}

    run(test)


def test_items_put_back_from_the_quarantine_are_taken_again() -> None:
    async def test(world: World) -> None:
        crashing = True

        async def crash(invocation: Invocation) -> None:
            if crashing:
                raise RuntimeError("on purpose")

        world.start("one", before=crash)
        await world.push(event("a"))
        item = await world.until_quarantined()
        crashing = False
        await world.quarantine.redrive_event(item, world.theirs)
        assert await world.until_received(1) == ["a"]
        assert await world.quarantine.count() == 0

    run(test)


async def nothing_in_flight(world: World) -> bool:
    return (await intake_status(world.theirs)).in_flight == 0


async def _answers(world: World) -> bool:
    try:
        return bool(await world.theirs.ping())
    except Exception:
        return False


async def _polled(world: World, times: int) -> bool:
    stats: Any = await world.theirs.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0)) >= times
