"""The deliverer on a real Redis: in order, one at a time, at least once, with one holder."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE
from typing import Any

import pytest

from bridge.contracts.files import ROOT
from bridge.joelclaw.outlet import MAX_ATTEMPTS, DeliveryFailed, NotNow
from bridge.joelclaw.push import envelope_id
from bridge.journal.store import Delivery
from tests.deadline import DEADLINE_S, until
from tests.joelclaw.outlet_world import LEASE_MS, Recorder, World, run


def test_what_waits_is_delivered_in_order_and_then_what_comes() -> None:
    async def test(world: World) -> None:
        before = await world.emit("a", "b")
        receiver = Recorder()
        world.start("one", receiver)
        await until(lambda: receiver.taken == before)
        await world.until_delivered()
        after = await world.emit(*(f"c{n}" for n in range(50)))
        await until(lambda: receiver.taken == before + after)
        await world.until_delivered()
        assert world.count("delivered") == 52

    run(test)


def test_one_worker_delivers_and_another_takes_over_where_it_stood_still() -> None:
    async def test(world: World) -> None:
        hung = asyncio.Event()
        one, two = Recorder(), Recorder()

        async def hang(delivery: Delivery) -> None:
            hung.set()
            await asyncio.Event().wait()

        one.before = hang
        ids = await world.emit("a", "b")
        world.start("one", one)
        await hung.wait()
        world.start("two", two)
        await world.kill("one")
        began = time.monotonic()
        await until(lambda: two.taken == ids)
        assert time.monotonic() - began < 10
        assert one.taken == []
        await world.until_delivered()

    run(test)


def test_a_delivery_that_takes_long_keeps_its_lease() -> None:
    async def test(world: World) -> None:
        one, two = Recorder(), Recorder()
        go_on = asyncio.Event()

        async def wait(delivery: Delivery) -> None:
            await go_on.wait()

        one.before = wait
        ids = await world.emit("a")
        world.start("one", one)
        await until(lambda: one.begun == ids)
        world.start("two", two)
        # Both ask three times per lease; for so long nothing else happens.
        await asyncio.sleep(LEASE_MS / 1000 * 3)
        assert (two.begun, one.taken) == ([], [])
        go_on.set()
        await world.until_delivered()
        assert one.taken == ids

    run(test)


def test_a_holder_that_ends_lets_go_at_once_and_what_it_had_in_hand_does_not_count() -> None:
    async def test(world: World) -> None:
        one = Recorder()

        async def hang(delivery: Delivery) -> None:
            await asyncio.Event().wait()

        one.before = hang
        await world.emit("a")
        world.start("one", one, lease_ms=60_000)
        await until(lambda: one.begun != [])
        await world.end("one")
        waiting = await world.deliveries.waiting()
        assert (waiting.holder, waiting.first[0].attempts) == ("", 0)

    run(test)


def test_without_a_receiver_everything_is_kept_and_the_lease_left_to_others() -> None:
    async def test(world: World) -> None:
        receiver = Recorder()
        receiver.present = False
        ids = await world.emit("a", "b")
        world.start("one", receiver)
        other = Recorder()
        world.start("other", other)
        await until(lambda: other.taken == ids)
        await world.end("other")
        more = await world.emit("c")
        receiver.appear()
        await until(lambda: receiver.taken == more)
        receiver.appear(False)

        async def free() -> bool:
            return (await world.deliveries.waiting()).holder == ""

        await until(free, "the lease is let go")
        assert await world.emit("d") == await world.left()

    run(test)


def test_a_receiver_that_is_away_is_no_failure_however_long() -> None:
    async def test(world: World) -> None:
        receiver = Recorder()
        away = 2 * MAX_ATTEMPTS

        async def refuse(delivery: Delivery) -> None:
            nonlocal away
            away -= 1
            if away > 0:
                raise NotNow("nobody is there")

        receiver.before = refuse
        ids = await world.emit("a", "b")
        world.start("one", receiver, lease_ms=60)
        await until(lambda: receiver.taken == ids)
        await world.until_delivered()
        assert await world.quarantine.count() == 0
        assert world.count("delivery_failed") == 0

    run(test)


def test_what_fails_eight_times_goes_to_the_quarantine_and_releases_the_next() -> None:
    async def test(world: World) -> None:
        receiver = Recorder()
        bad, good = await world.emit("bad", "good")

        async def refuse(delivery: Delivery) -> None:
            if delivery.event.id == bad:
                raise DeliveryFailed(f"no, for the {len(receiver.begun)}. time")

        receiver.before = refuse
        world.start("one", receiver)
        await until(lambda: receiver.taken == [good])
        await world.until_delivered()
        assert receiver.begun == [bad] * 8 + [good]
        (item,) = await world.quarantine.list()
        assert (item.id, item.source, item.code) == (bad, "deliveries", "runtime_fault")
        assert item.message == "not delivered in 8 attempts: no, for the 8. time"
        assert json.loads(item.raw)["data"]["prompt"] == "bad"

        receiver.before = None
        await world.quarantine.redrive(item, None)
        await until(lambda: receiver.taken == [good, bad])
        await world.until_delivered()
        assert await world.quarantine.count() == 0

    run(test)


def test_what_its_holders_die_of_goes_to_the_quarantine_too() -> None:
    async def test(world: World) -> None:
        (bad, good) = await world.emit("bad", "good")
        for n in range(MAX_ATTEMPTS):
            hold = await world.deliveries.hold(f"dies-{n}", 60_000)
            assert hold.first is not None
            await world.deliveries.begin(f"dies-{n}", hold.first.event.position)
            await world.deliveries.release(f"dies-{n}")
        receiver = Recorder()
        world.start("one", receiver)
        await until(lambda: receiver.taken == [good])
        (item,) = await world.quarantine.list()
        said = "not delivered in 8 attempts: nobody who began it lived to end it"
        assert (item.id, item.message) == (bad, said)

    run(test)


def test_a_defect_of_the_receiver_is_a_failure_and_does_not_end_the_worker() -> None:
    async def test(world: World) -> None:
        receiver = Recorder()

        async def break_down(delivery: Delivery) -> None:
            if len(receiver.begun) == 1:
                raise ZeroDivisionError("a defect")

        receiver.before = break_down
        ids = await world.emit("a")
        world.start("one", receiver)
        await until(lambda: receiver.taken == ids)
        assert world.count("defect") == 1
        assert world.count("delivery_failed") == 1

    run(test)


def test_a_restarted_redis_loses_nothing_and_is_told_of_at_most_once() -> None:
    async def test(world: World) -> None:
        receiver = Recorder()
        lived = asyncio.Event()

        async def restart(delivery: Delivery) -> None:
            if delivery.event.id == ids[10] and not lived.is_set():
                await asyncio.to_thread(world.own.restart)
                lived.set()

        ids = await world.emit(*(f"p{n}" for n in range(20)))
        receiver.before = restart
        world.start("one", receiver)
        await until(lambda: receiver.taken[-1:] == [ids[-1]])
        await world.until_delivered()
        assert receiver.taken == ids
        assert world.count("deliveries_away") == world.count("deliveries_back") <= 1

    run(test)


# -- the session's outlet ------------------------------------------------------------------------
def test_a_session_gets_all_five_fields_and_a_prompt() -> None:
    async def test(world: World) -> None:
        await world.emit("Look at it.", origin_session="telegram:7")
        members = [{"id": "e", "type": "a.b", "source": "s", "payload": {"deep": [1]}, "ts": 1}]
        await world.commit(
            "triage.digest", {"count": 1, "by_type": {"a.b": 1}, "members": members}
        )
        world.start("one", world.session())
        await world.until_delivered()
        first, second = await world.pushed()
        assert (first["type"], first["source"]) == ("triage.prompt", "bridge/outlet")
        assert first["payload"] == {
            "prompt": "Look at it.",
            "event_ids": [],
            "origin_session": "telegram:7",
            "originSession": "telegram:7",
        }
        assert abs(first["ts"] - time.time() * 1000) < DEADLINE_S * 1000
        assert (second["type"], second["payload"]["prompt"]) == (
            "triage.digest",
            "Digest of 1 event:\n- a.b: 1",
        )
        assert second["payload"]["members"] == members
        assert first["id"] != second["id"]

    run(test)


def test_an_outage_of_joelclaws_redis_is_waited_out_and_each_is_pushed_once() -> None:
    async def test(world: World) -> None:
        world.start("one", world.session())
        await world.emit("a")
        await world.until_delivered()
        await asyncio.to_thread(world.joelclaw.kill9)
        await world.emit("b", "c")
        await until(lambda: world.count("delivery_waits") >= 2)
        await asyncio.to_thread(world.joelclaw.restart)
        await world.until_delivered()
        assert await world.prompts() == ["a", "b", "c"]
        assert (world.count("joelclaw_away"), world.count("joelclaw_back")) == (1, 1)
        assert await world.quarantine.count() == 0

    run(test)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_two_workers_of_which_the_first_is_killed_or_stopped_push_each_once(
    how: signal.Signals,
) -> None:
    async def test(world: World) -> None:
        prompts = [f"p{n}" for n in range(60)]
        await world.emit(*prompts)
        processes = {}
        for worker in ("one", "two"):
            processes[worker] = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.joelclaw.outlet_process"),
                *(worker, world.own.url, world.joelclaw.url, "agent"),
                cwd=ROOT,
                stdout=PIPE,
            )
        try:

            async def some() -> bool:
                return len(await world.pushed()) >= 20

            await until(some, "a worker delivers")
            holder = (await world.deliveries.waiting(limit=0)).holder.removeprefix("session ")
            (other,) = set(processes) - {holder}
            processes[holder].send_signal(how)
            began = time.monotonic()

            async def handed_over() -> bool:
                return (await world.deliveries.waiting(limit=0)).holder == f"session {other}"

            await until(handed_over, "the other has the lease")
            assert time.monotonic() - began < 10
            await world.until_delivered()
            if how == signal.SIGSTOP:
                processes[holder].send_signal(signal.SIGCONT)
                await world.emit("last")
                await world.until_delivered()
                prompts.append("last")
            assert await world.prompts() == prompts
        finally:
            for process in processes.values():
                if process.returncode is None:
                    process.kill()
                await process.wait()

    run(test)


def test_a_reader_that_deletes_its_list_whole_loses_nothing_that_is_delivered_to_it() -> None:
    async def test(world: World) -> None:
        await world.theirs.sadd("joelclaw:gateway:sessions", "agent")
        prompts = [f"p{n}" for n in range(60)]
        await world.emit(*prompts)
        read: list[str] = []

        async def read_as_joelclaw_does() -> None:
            while len(read) < len(prompts):
                found = await world.prompts()
                await asyncio.sleep(0.005)  # what it does with them
                if found:
                    read.extend(found)
                    await world.theirs.delete("joelclaw:events:agent")

        reading = asyncio.create_task(read_as_joelclaw_does())
        world.start("one", world.session())
        await reading
        assert read == prompts

    run(test)


def test_what_still_lies_in_the_list_after_a_while_is_rung_for_once_more() -> None:
    async def test(world: World) -> None:
        rung: list[Any] = []
        async with world.theirs.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe("joelclaw:notify:agent")
            (id,) = await world.emit("a")
            world.start("one", world.session())
            async for message in pubsub.listen():
                rung.append(json.loads(message["data"]))
                if len(rung) == 2:
                    break
        assert rung[0] == rung[1] == {"eventId": envelope_id(id), "type": "triage.prompt"}
        assert await world.prompts() == ["a"]

    run(test)


def test_a_reader_that_reads_nothing_holds_nobody_up_for_ever() -> None:
    async def test(world: World) -> None:
        await world.theirs.sadd("joelclaw:gateway:sessions", "agent")
        await world.emit("a", "b", "c")
        world.start("one", world.session(patience_s=0.05))
        await world.until_delivered()
        assert await world.prompts() == ["a", "b", "c"]

    run(test)
