"""The deliverer on a real Redis: in order, one at a time, at least once, with one holder."""

from __future__ import annotations

import asyncio
import json
import time

from bridge.joelclaw.outlet.outlet import MAX_ATTEMPTS, DeliveryFailed, NotNow
from bridge.journal.values import Delivery
from tests.deadline import until
from tests.joelclaw.outlet.world import LEASE_MS, Recorder, World, run


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


def test_a_receiver_that_appears_while_the_lease_is_let_go_gets_what_waits() -> None:
    async def test(world: World) -> None:
        receiver = Recorder()
        receiver.present = False
        ids = await world.emit("a")
        world.start("one", receiver)
        deliverer, _ = world.running["one"]
        release = deliverer._deliveries.release

        async def appear_meanwhile(token: str) -> None:
            await release(token)
            receiver.appear()

        deliverer._deliveries.release = appear_meanwhile  # type: ignore[method-assign]  # the gap
        await until(lambda: receiver.taken == ids)
        await world.until_delivered()

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
        await world.quarantine.redrive_delivery(item, world.deliveries)
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
