"""What is kept for an outlet: lease, line, attempts, and what a late holder may not do."""

from __future__ import annotations

import asyncio

from bridge.journal.store import Deliveries
from bridge.journal.values import Delivery
from tests.deadline import DEADLINE_S
from tests.journal.case import LEASE_MS, SHORT_MS, SUBSYSTEM, JournalCase, emit, inngest


class DeliveriesSuite(JournalCase):
    deliveries: Deliveries

    async def deliver(self, events_keep: int = 1) -> None:
        """Go on with a journal that keeps what is emitted for the outlet."""
        self.journal = await self.open_journal(
            delivering=frozenset({SUBSYSTEM}), events_keep=events_keep
        )
        self.deliveries = self.journal.deliveries(SUBSYSTEM)

    async def first(self, token: str = "a", lease_ms: int = LEASE_MS) -> Delivery:
        hold = await self.deliveries.hold(token, lease_ms)
        assert hold.holder == token
        assert hold.first is not None
        return hold.first

    async def ids(self) -> list[str]:
        return [delivery.event.id for delivery in (await self.deliveries.waiting()).first]

    async def test_what_a_commit_emits_waits_in_commit_order_with_all_it_is(self) -> None:
        await self.deliver()
        await self.put("m1", inngest(), emit("counter.added", n=1, empty=[]))
        await self.put("m2", emit(), emit(), key="other")
        assert await self.ids() == ["m1/1", "m2/0", "m2/1"]
        first = await self.first()
        event = first.event
        assert (event.subsystem, event.key, event.seq, event.n) == (SUBSYSTEM, "k", 1, 1)
        assert (event.id, event.type) == ("m1/1", "counter.added")
        assert (event.payload, event.at_ms) == ({"n": 1, "empty": []}, 1_800_000_000_123)
        assert (first.attempts, first.error, first.wait_ms) == (0, "", 0)

    async def test_clients_get_the_same_events_whether_they_are_delivered_or_not(self) -> None:
        await self.deliver(events_keep=100)
        await self.put("m1", emit(n=1))
        (event,) = await self.journal.events_after(SUBSYSTEM, "0-0")
        first = await self.first()
        assert (event.id, event.payload) == (first.event.id, first.event.payload)
        assert await self.deliveries.done("a", first.event.position)
        assert len(await self.journal.events_after(SUBSYSTEM, "0-0")) == 1

    async def test_nothing_but_its_delivery_takes_an_event_away(self) -> None:
        await self.deliver()
        # `events_keep` is 1, and the events' own stream is trimmed to about that.
        for n in range(300):
            await self.put(f"m{n}", emit())
        assert (await self.deliveries.waiting(limit=0)).total == 300
        assert len((await self.deliveries.waiting(limit=2)).first) == 2

    async def test_a_repeated_message_is_not_delivered_twice(self) -> None:
        await self.deliver()
        commit = await self.prepare("m1", emit())
        assert (await self.journal.commit(commit, 5000)).status == "committed"
        assert (await self.journal.commit(commit, 5000)).status == "duplicate"
        assert await self.ids() == ["m1/0"]

    async def test_only_what_is_to_be_delivered_is_kept(self) -> None:
        await self.deliver()
        await self.journal.ensure_route("other", "python", None)
        await self.put("m1", emit(), subsystem="other")
        assert (await self.journal.deliveries("other").waiting()).total == 0

    async def test_what_is_put_back_comes_last_as_it_was(self) -> None:
        await self.deliver()
        await self.put("m1", emit(n=1))
        await self.put("m2", emit())
        first = await self.first()
        assert await self.deliveries.done("a", first.event.position)
        await self.deliveries.put_back(first.text)
        assert await self.ids() == ["m2/0", "m1/0"]
        again = (await self.deliveries.waiting()).first[1]
        assert (again.text, again.attempts, again.error) == (first.text, 0, "")
        assert again.event.position > first.event.position

    async def test_one_holds_the_lease_and_others_are_told_who(self) -> None:
        await self.deliver()
        await self.put("m1", emit())
        await self.first("a")
        other = await self.deliveries.hold("b", LEASE_MS)
        assert (other.holder, other.first) == ("a", None)
        assert (await self.deliveries.waiting()).holder == "a"
        await self.deliveries.release("b")
        assert (await self.deliveries.hold("b", LEASE_MS)).holder == "a"
        await self.deliveries.release("a")
        assert (await self.deliveries.waiting()).holder == ""
        await self.first("b")

    async def test_a_lease_that_runs_out_is_anybodys(self) -> None:
        await self.deliver()
        await self.put("m1", emit())
        await self.first("a", SHORT_MS)
        await self.pass_time(SHORT_MS)
        assert (await self.deliveries.waiting()).holder == ""
        await self.first("b")

    async def test_a_renewed_lease_lasts_on(self) -> None:
        await self.deliver()
        await self.deliveries.hold("a", SHORT_MS)
        await self.deliveries.hold("a", LEASE_MS)
        await self.pass_time(SHORT_MS)
        assert (await self.deliveries.hold("b", LEASE_MS)).holder == "a"

    async def test_a_delivered_event_makes_way_for_the_next(self) -> None:
        await self.deliver()
        await self.put("m1", emit(), emit())
        first = await self.first()
        assert await self.deliveries.begin("a", first.event.position) == 1
        assert await self.deliveries.done("a", first.event.position)
        assert not await self.deliveries.done("a", first.event.position)
        second = await self.first()
        assert (second.event.id, second.attempts) == ("m1/1", 0)
        assert await self.deliveries.done("a", second.event.position)
        assert (await self.deliveries.hold("a", LEASE_MS)).first is None

    async def test_a_holder_that_lost_its_lease_to_another_changes_nothing(self) -> None:
        await self.deliver()
        await self.put("m1", emit())
        position = (await self.first("a", SHORT_MS)).event.position
        assert await self.deliveries.begin("a", position) == 1
        await self.pass_time(SHORT_MS)
        assert (await self.first("b")).attempts == 1
        assert await self.deliveries.begin("b", position) == 2
        assert not await self.deliveries.done("a", position)
        assert not await self.deliveries.failed("a", position, "late", 0)
        assert not await self.deliveries.give_back("a", position)
        assert await self.deliveries.begin("a", position) == 0
        again = await self.first("b")
        assert (again.attempts, again.error) == (2, "")
        assert await self.deliveries.done("b", position)

    async def test_a_holder_whose_lease_ran_out_to_nobody_may_still_tell_the_end(self) -> None:
        await self.deliver()
        await self.put("m1", emit())
        position = (await self.first("a", SHORT_MS)).event.position
        assert await self.deliveries.begin("a", position) == 1
        await self.pass_time(SHORT_MS)
        assert await self.deliveries.begin("a", position) == 0
        assert await self.deliveries.done("a", position)
        assert await self.ids() == []

    async def test_a_failed_delivery_stays_first_and_is_tried_later(self) -> None:
        await self.deliver()
        await self.put("m1", emit(), emit())
        position = (await self.first()).event.position
        assert await self.deliveries.begin("a", position) == 1
        assert await self.deliveries.failed("a", position, "no", 50_000)
        again = await self.first()
        assert (again.event.id, again.attempts, again.error) == ("m1/0", 1, "no")
        assert 40_000 < again.wait_ms <= 50_000
        waiting = await self.deliveries.waiting()
        assert [(d.attempts, d.error) for d in waiting.first] == [(1, "no"), (0, "")]
        await self.deliveries.begin("a", position)
        assert await self.deliveries.failed("a", position, "no more", 0)
        again = await self.first()
        assert (again.attempts, again.error, again.wait_ms) == (2, "no more", 0)

    async def test_attempts_outlive_their_holder(self) -> None:
        await self.deliver()
        await self.put("m1", emit())
        position = (await self.first()).event.position
        await self.deliveries.begin("a", position)
        await self.deliveries.release("a")
        assert (await self.first("b")).attempts == 1

    async def test_attempts_of_one_delivery_are_not_the_next_ones(self) -> None:
        await self.deliver()
        await self.put("m1", emit(), emit())
        position = (await self.first()).event.position
        await self.deliveries.begin("a", position)
        await self.deliveries.failed("a", position, "no", 50_000)
        assert await self.deliveries.done("a", position)
        second = await self.first()
        assert (second.attempts, second.error, second.wait_ms) == (0, "", 0)
        assert await self.deliveries.begin("a", second.event.position) == 1

    async def test_an_attempt_that_was_given_back_does_not_count(self) -> None:
        await self.deliver()
        await self.put("m1", emit())
        position = (await self.first()).event.position
        assert not await self.deliveries.give_back("a", position)
        await self.deliveries.begin("a", position)
        assert await self.deliveries.give_back("a", position)
        assert not await self.deliveries.give_back("a", position)
        assert not await self.deliveries.failed("a", position, "nothing was begun", 0)
        assert (await self.first()).attempts == 0

    async def test_what_is_gone_cannot_be_begun_nor_fail(self) -> None:
        await self.deliver()
        await self.put("m1", emit())
        position = (await self.first()).event.position
        assert await self.deliveries.done("a", position)
        assert await self.deliveries.begin("a", position) == 0
        assert not await self.deliveries.failed("a", position, "no", 0)

    async def test_who_waits_hears_of_the_first_arrival(self) -> None:
        await self.deliver()
        assert not await self.deliveries.arrived(1)
        waiting = asyncio.create_task(self.deliveries.arrived(int(DEADLINE_S * 1000)))
        await self.put("m1", inngest())
        await asyncio.sleep(0)
        await self.put("m2", emit())
        assert await waiting
        assert await self.deliveries.arrived(1)
