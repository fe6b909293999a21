"""Events to clients: live, replayed from `since`, gaps, trouble with the journal."""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.channels.frames import CODECS, V2
from bridge.channels.session import Channel
from bridge.edge.backlog import Backlog
from bridge.edge.fanout import TURN_DELIVERIES, Follower, Subscription
from bridge.errors import BridgeError
from bridge.journal.memory import MemoryJournal
from bridge.journal.values import Event
from bridge.message import Message
from bridge.telemetry import Telemetry
from bridge.turns import Turns
from tests.deadline import until
from tests.edge.counter import CounterDispatcher, journal
from tests.edge.rig import Rig, rig, run


async def add(r: Rig, key: str, count: int = 1) -> None:
    for n in range(count):
        await r.dispatcher.dispatch(
            Message(f"{key}-{len(r.dispatcher.seen)}-{n}", "counter", key, "add", {"n": 1}),
            timeout_ms=1000,
        )


def totals(events: list[Any]) -> list[int]:
    return [event["payload"]["total"] for event in events]


def test_an_event_is_pushed_to_every_client_of_its_key_only() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as one, r.client() as two, r.client() as three:
            await one.join("counter:a")
            await two.join("counter:a")
            await three.join("counter:b")
            await one.ask("counter:a", "add", {"n": 7, "message_id": "m"})
            event = await two.receive()
            assert event[:4] == [None, None, "counter:a", "counter.added"]
            body = event[4]
            assert set(body) == {"position", "key", "seq", "n", "id", "payload"}
            assert (body["key"], body["seq"], body["n"], body["id"]) == ("a", 1, 0, "m/0")
            assert body["payload"] == {"n": 7, "total": 7}
            await add(r, "b")
            assert totals(await three.events(1)) == [1]

    run(main())


def test_a_client_that_comes_back_gets_what_it_missed_then_live_events() -> None:
    async def main() -> None:
        async with rig() as r:
            async with r.client() as client:
                await client.join("counter:a")
                await add(r, "a", 3)
                seen = await client.events(2)
            await add(r, "a", 3)
            await add(r, "b", 3)
            async with r.client() as client:
                since = seen[-1]["position"]
                assert await client.join("counter:a", {"since": since}) == {"position": since}
                await add(r, "a", 2)
                assert totals(await client.events(6)) == [3, 4, 5, 6, 7, 8]

    run(main())


def test_a_replay_longer_than_the_clients_queue_waits_for_the_client() -> None:
    async def main() -> None:
        async with rig(max_queue_frames=4, max_queue_bytes=65536) as r, r.client() as client:
            await add(r, "a", 1500)
            reply = await client.join("counter:a", {"since": "0-0"})
            assert reply == {"position": "0-0"}
            assert totals(await client.events(1500)) == list(range(1, 1501))

    run(main())


def test_a_since_that_was_trimmed_is_told_of_the_gap() -> None:
    async def main() -> None:
        async with rig(journal(events_keep=100)) as r, r.client() as client:
            await add(r, "a", 1)
            first = (await r.journal.events_after("counter", "0-0"))[0].position
            await add(r, "a", 400)
            now = await r.journal.last_position("counter")
            reply = await client.join("counter:a", {"since": first})
            assert reply == {"position": now, "gap": True}
            await add(r, "a", 1)
            assert totals(await client.events(1)) == [402]

    run(main())


@pytest.mark.parametrize("since", ["nonsense", "99999999999999999-0", "ä"])
def test_a_since_of_no_stream_is_a_gap(since: str) -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await add(r, "a", 1)
            assert (await client.join("counter:a", {"since": since}))["gap"] is True

    run(main())


def test_a_left_topic_gets_no_more_events() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            assert (await client.ask("counter:a", "phx_leave", {}))["status"] == "ok"
            await client.join("counter:b", ref="2")
            await add(r, "a")
            await add(r, "b")
            assert [e["key"] for e in await client.events(1)] == ["b"]

    run(main())


class Breaking(MemoryJournal):
    """A journal that can be out of reach, as Redis can."""

    broken = False

    async def last_position(self, subsystem: str) -> str:
        self._reach()
        return await super().last_position(subsystem)

    async def events_after(
        self, subsystem: str, position: str, count: int = 500, wait_ms: int = 0
    ) -> list[Event]:
        self._reach()
        events = await super().events_after(subsystem, position, count, min(wait_ms, 5))
        self._reach()
        return events

    def _reach(self) -> None:
        if self.broken:
            raise BridgeError("storage_unavailable", "Redis does not answer")


def breaking() -> Breaking:
    return Breaking(lambda: 1_700_000_000_000)


def test_nothing_is_lost_while_the_journal_was_out_of_reach() -> None:
    async def main() -> None:
        store = breaking()
        async with rig(store) as r, r.client() as client:
            await client.join("counter:a")
            await add(r, "a", 2)
            assert totals(await client.events(2)) == [1, 2]
            store.broken = True
            await until(lambda: any("follower_failed" in n for n in r.telemetry.counts()))
            await add(r, "a", 3)
            store.broken = False
            assert totals(await client.events(3)) == [3, 4, 5]

    run(main())


def test_a_join_while_the_journal_is_out_of_reach_is_refused_retryably() -> None:
    async def main() -> None:
        store = breaking()
        store.broken = True
        async with rig(store) as r, r.client() as client:
            await client.send("1", "1", "counter:a", "phx_join", {})
            reply = await client.reply("1")
            assert reply["response"]["code"] == "storage_unavailable"
            store.broken = False
            await client.join("counter:a", ref="2")

    run(main())


class Counting(V2):
    """A codec that counts what it encodes."""

    encoded = 0

    def encode(self, frame: Any) -> bytes:
        self.encoded += 1
        return super().encode(frame)


class Inbox:
    """A writer that keeps what it is given."""

    def __init__(self, written: asyncio.Event | None = None) -> None:
        self.frames: list[bytes] = []
        self.written = written or asyncio.Event()

    def can_write(self) -> bool:
        return True

    def write(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.written.set()


def test_an_event_is_encoded_once_for_all_clients_of_a_version() -> None:
    async def main() -> None:
        store = journal()
        await store.ensure_route("counter", "python", None)
        dispatcher = CounterDispatcher(store)
        follower = Follower(store, Telemetry(), Turns(), "counter", "0-0")
        codec = Counting()
        inboxes = [Inbox() for _ in range(50)]
        for inbox in inboxes:
            channel = Channel("counter:a", "counter", "a", "1", "1", "joined")
            backlog = Backlog(inbox, 10, 10_000, lambda: None)
            follower.attach(Subscription(channel, codec, backlog, lambda channel: None))
        following = asyncio.create_task(follower.follow())
        await dispatcher.dispatch(Message("m", "counter", "a", "add", {}), timeout_ms=1)
        await until(lambda: all(inbox.frames for inbox in inboxes))
        following.cancel()
        assert codec.encoded == 1
        assert len({id(frame) for inbox in inboxes for frame in inbox.frames}) == 1

    run(main())


@settings(max_examples=60, deadline=None)
@example(before=10, during=0, since=10, turns=[0] * 31, started=5)
@given(
    before=st.integers(0, 700),
    during=st.integers(0, 30),
    since=st.integers(0, 700),
    turns=st.lists(st.integers(0, 4), min_size=31, max_size=31),
    started=st.integers(0, 700),
)
def test_replay_and_live_meet_without_loss_repetition_or_disorder(
    before: int, during: int, since: int, turns: list[int], started: int
) -> None:
    """Catch up from anywhere, while the follower is anywhere and events keep coming."""

    async def main() -> None:
        store = Yielding(lambda: 1_700_000_000_000)
        await store.ensure_route("counter", "python", None)
        dispatcher = CounterDispatcher(store)
        for n in range(before):
            await dispatcher.dispatch(Message(f"b{n}", "counter", "a", "add", {}), timeout_ms=1)
        positions = [
            "0-0",
            *(e.position for e in await store.events_after("counter", "0-0", 1000)),
        ]
        begin = positions[min(started, len(positions) - 1)]
        follower = Follower(store, Telemetry(), Turns(), "counter", begin)
        following = asyncio.create_task(follower.follow())
        start = min(since, len(positions) - 1)
        inbox = Inbox()
        channel = Channel("counter:a", "counter", "a", "1", "1", "joined")
        subscription = Subscription(
            channel, CODECS["2"], Backlog(inbox, 5000, 10_000_000, lambda: None), lambda c: None
        )
        catching_up = asyncio.create_task(follower.catch_up(subscription, positions[start]))
        for n in range(during):
            for _ in range(turns[n]):
                await asyncio.sleep(0)
            await dispatcher.dispatch(Message(f"d{n}", "counter", "a", "add", {}), timeout_ms=1)
        await catching_up
        await dispatcher.dispatch(Message("last", "counter", "a", "add", {}), timeout_ms=1)
        expected = before + during + 1 - start

        def got() -> list[int]:
            return [int(n) for n in re.findall(rb'"total":(\d+)', b"".join(inbox.frames))]

        await until(lambda: len(got()) >= expected)
        following.cancel()
        assert got() == list(range(start + 1, before + during + 2))

    run(main())


class Yielding(MemoryJournal):
    """A journal whose reads take a turn of the loop, before and after."""

    async def events_after(
        self, subsystem: str, position: str, count: int = 500, wait_ms: int = 0
    ) -> list[Event]:
        await asyncio.sleep(0)
        events = await super().events_after(subsystem, position, min(count, 50), wait_ms)
        await asyncio.sleep(0)
        return events


def test_a_follower_that_was_left_behind_sends_its_clients_to_join_again() -> None:
    async def main() -> None:
        store = Breaking(lambda: 1_700_000_000_000, events_keep=100)
        async with rig(store) as r, r.client() as client:
            await client.join("counter:a")
            await add(r, "a", 1)
            [seen] = await client.events(1)
            store.broken = True
            await until(lambda: any("follower_failed" in n for n in r.telemetry.counts()))
            await add(r, "a", 900)
            store.broken = False
            while (frame := await client.receive())[3] != "phx_error":
                pass
            assert frame == ["1", "1", "counter:a", "phx_error", {}]
            reply = await client.join("counter:a", {"since": seen["position"]}, ref="2")
            assert reply["gap"] is True

    run(main())


class Burst(MemoryJournal):
    """A journal with one burst of events, from the beginning on."""

    def __init__(self, count: int) -> None:
        super().__init__(lambda: 1_700_000_000_000)
        self.burst = [
            Event(f"1-{n}", "counter", "a", 1, n, f"m/{n}", "counter.added", {"total": n}, 0)
            for n in range(count)
        ]

    async def events_after(
        self, subsystem: str, position: str, count: int = 500, wait_ms: int = 0
    ) -> list[Event]:
        if position == "0-0":
            return self.burst
        return await super().events_after(subsystem, position, count, wait_ms)

    async def has_gap(self, subsystem: str, position: str) -> bool:
        return False


def subscriber(inbox: Inbox, codec: V2) -> Subscription:
    channel = Channel("counter:a", "counter", "a", "1", "1", "joined")
    backlog = Backlog(inbox, 10_000, 10_000_000, lambda: None)
    return Subscription(channel, codec, backlog, lambda channel: None)


def received(inbox: Inbox) -> list[int]:
    return [int(n) for n in re.findall(rb'"total":(\d+)', b"".join(inbox.frames))]


def test_a_burst_is_encoded_once_and_handed_out_a_bounded_number_in_each_turn() -> None:
    async def main() -> None:
        follower = Follower(Burst(500), Telemetry(), Turns(), "counter", "0-0")
        codec, inboxes = Counting(), [Inbox() for _ in range(300)]
        for inbox in inboxes:
            follower.attach(subscriber(inbox, codec))
        pieces = [0]

        async def count() -> None:
            while True:
                await asyncio.sleep(0)
                pieces.append(sum(len(inbox.frames) for inbox in inboxes))

        tasks = [asyncio.create_task(count()), asyncio.create_task(follower.follow())]
        await until(lambda: all(len(received(inbox)) == 500 for inbox in inboxes))
        for task in tasks:
            task.cancel()
        assert all(received(inbox) == list(range(500)) for inbox in inboxes)
        assert codec.encoded == 500
        in_turn = [after - before for before, after in itertools.pairwise(pieces)]
        assert max(in_turn) == TURN_DELIVERIES
        assert len({id(frame) for inbox in inboxes for frame in inbox.frames}) == len(
            inboxes[0].frames
        )

    run(main())


def test_who_joins_or_leaves_while_a_burst_is_handed_out_gets_what_their_join_promises() -> None:
    async def main() -> None:
        follower = Follower(Burst(10), Telemetry(), Turns(), "counter", "0-0")
        first = asyncio.Event()
        codec, inboxes = Counting(), [Inbox(first) for _ in range(3 * TURN_DELIVERIES)]
        subscriptions = [subscriber(inbox, codec) for inbox in inboxes]
        for subscription in subscriptions:
            follower.attach(subscription)
        following = asyncio.create_task(follower.follow())
        await first.wait()
        assert follower.position == "1-9"  # what a join is answered from now on
        late, since = Inbox(), Inbox()
        follower.attach(subscriber(late, codec))
        catching_up = asyncio.create_task(follower.catch_up(subscriber(since, codec), "1-4"))
        left = next(n for n, inbox in enumerate(inboxes) if not inbox.frames)
        subscriptions[left].channel.state = "absent"
        follower.detach(subscriptions[left])
        rest = [inbox for n, inbox in enumerate(inboxes) if n != left]
        await until(lambda: all(len(received(inbox)) == 10 for inbox in rest))
        await catching_up
        following.cancel()
        assert (received(late), received(inboxes[left])) == ([], [])
        assert received(since) == [5, 6, 7, 8, 9]

    run(main())
