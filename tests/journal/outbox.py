"""Lanes, claims, retries, dead letters."""

from __future__ import annotations

from dataclasses import replace

from bridge.journal.values import Due, Tally, TargetState
from tests.journal.case import (
    KINDS,
    LEASE_MS,
    SHORT_MS,
    SUBSYSTEM,
    JournalCase,
    cancel,
    ids,
    inngest,
    schedule,
    system_event,
)

FAR_MS = 4_000_000_000_000


class OutboxSuite(JournalCase):
    async def test_a_claimed_effect_tells_all_its_executor_needs(self) -> None:
        await self.put("m1", inngest("a", data={"list": [], "n": 1}))
        (entry,) = await self.claim()
        assert entry.effect == inngest("a", data={"list": [], "n": 1})
        assert (entry.id, entry.lane, entry.subsystem) == ("m1/0", "k", SUBSYSTEM)
        assert (entry.key, entry.kind, entry.runtime) == ("k", "inngest", "python")
        assert (entry.committed_ms, entry.attempts) == (1_800_000_000_123, 0)
        assert (entry.error, entry.held) == ("", False)
        assert entry.token != ""
        assert entry.due_ms > 0

    async def test_a_lane_gives_one_effect_at_a_time_in_commit_order(self) -> None:
        await self.put("m1", inngest("a"), system_event())
        await self.put("m2", inngest("b"))
        done = []
        for _ in range(3):
            (entry,) = await self.claim()
            assert await self.claim() == []
            assert await self.journal.complete(entry)
            done.append(entry.id)
        assert done == ["m1/0", "m1/1", "m2/0"]
        assert await self.claim() == []
        assert await self.journal.outbox(SUBSYSTEM) == []

    async def test_lanes_do_not_wait_for_each_other(self) -> None:
        await self.put("m1", inngest(), key="a")
        await self.put("m2", inngest(), key="b")
        assert sorted(ids(await self.claim())) == ["m1/0", "m2/0"]

    async def test_it_is_told_when_there_is_something_to_do(self) -> None:
        async def due(*kinds: str) -> Due:
            return await self.journal.due(SUBSYSTEM, kinds or KINDS)

        assert await due() == Due(None, None)
        await self.put("m1", inngest())
        assert await due() == Due(0, None)
        (entry,) = await self.claim()
        claimed = (await due()).outbox_ms
        assert claimed is not None
        assert 0 < claimed <= LEASE_MS
        assert await self.journal.hold(entry, "its target is away")
        assert await due("system_event") == Due(None, None)
        assert await due("inngest") == Due(0, None)
        await self.put("m2", schedule("soon", 7), schedule("far", FAR_MS))
        assert (await due()).timers_ms == 0
        await self.put("m3", cancel("soon"))
        far = (await due()).timers_ms
        assert far is not None
        assert far > LEASE_MS

    async def test_what_is_shared_is_told_to_who_asks_after_that(self) -> None:
        before = await self.journal.shared(0)
        assert before.subsystems == frozenset()
        await self.journal.share(SUBSYSTEM)
        after = await self.journal.shared(before.at_ms)
        assert after.subsystems == {SUBSYSTEM}
        await self.pass_time(SHORT_MS)
        later = await self.journal.shared(after.at_ms + 1)
        assert later.subsystems == frozenset()
        await self.journal.share("other")
        assert (await self.journal.shared(later.at_ms)).subsystems == {"other"}

    async def test_a_claim_gives_no_more_than_asked(self) -> None:
        for n in range(5):
            await self.put(f"m{n}", inngest(), key=f"k{n}")
        assert ids(await self.claim(count=2)) == ["m0/0", "m1/0"]
        assert ids(await self.claim(count=0)) == []
        assert ids(await self.claim()) == ["m2/0", "m3/0", "m4/0"]

    async def test_unordered_effects_pass_those_that_wait(self) -> None:
        await self.put(
            "m1",
            inngest("a"),
            inngest("b", unordered=True),
            inngest("c"),
            inngest("d", unordered=True),
        )
        claimed = await self.claim()
        assert sorted(ids(claimed)) == ["m1/0", "m1/1", "m1/3"]
        assert sorted(entry.lane for entry in claimed) == ["k", "m1/1", "m1/3"]

    async def test_a_failed_effect_comes_again_before_what_is_behind_it(self) -> None:
        await self.put("m1", inngest("a"), inngest("b"))
        (entry,) = await self.claim()
        assert await self.journal.fail(entry, "refused", SHORT_MS, 3) == "retried"
        assert await self.claim() == []
        await self.pass_time(SHORT_MS)
        (again,) = await self.claim()
        assert (again.id, again.attempts, again.error) == ("m1/0", 1, "refused")
        assert await self.journal.complete(again)
        (second,) = await self.claim()
        assert (second.id, second.attempts, second.error) == ("m1/1", 0, "")

    async def test_an_effect_that_keeps_failing_is_buried_and_releases_the_next(self) -> None:
        await self.put("m1", inngest("a"), inngest("b"))
        for expected in ("retried", "retried", "dead"):
            (entry,) = await self.claim()
            assert await self.journal.fail(entry, "no way", 0, 3) == expected
        (letter,) = await self.journal.dead(SUBSYSTEM)
        assert (letter.id, letter.what, letter.kind) == ("m1/0", "effect", "inngest")
        assert (letter.error, letter.attempts, letter.key) == ("no way", 3, "k")
        assert letter.body == inngest("a")
        assert letter.died_ms > 0
        assert ids(await self.claim()) == ["m1/1"]

    async def test_a_redriven_effect_stands_at_the_end_of_its_lane_with_new_attempts(
        self,
    ) -> None:
        await self.put("m1", inngest("a"), inngest("b"))
        (entry,) = await self.claim()
        assert await self.journal.fail(entry, "no way", 0, 1) == "dead"
        assert await self.journal.redrive(SUBSYSTEM, "m1/0")
        assert not await self.journal.redrive(SUBSYSTEM, "m1/0")
        assert await self.journal.dead(SUBSYSTEM) == []
        done = []
        for _ in range(2):
            (entry,) = await self.claim()
            assert (entry.attempts, entry.error) == (0, "")
            assert await self.journal.complete(entry)
            done.append(entry.id)
        assert done == ["m1/1", "m1/0"]

    async def test_a_redriven_effect_opens_its_empty_lane_again(self) -> None:
        await self.put("m1", inngest("a"))
        (entry,) = await self.claim()
        await self.journal.fail(entry, "no way", 0, 1)
        assert await self.claim() == []
        await self.journal.redrive(SUBSYSTEM, "m1/0")
        assert ids(await self.claim()) == ["m1/0"]

    async def test_nobody_redrives_what_never_died(self) -> None:
        assert not await self.journal.redrive(SUBSYSTEM, "m1/0")

    async def test_dead_letters_are_listed_oldest_first(self) -> None:
        for n in range(4):
            await self.put(f"m{n}", inngest(), key=f"k{n}")
        for entry in sorted(await self.claim(), key=lambda entry: entry.id):
            await self.journal.fail(entry, "no", 0, 1)
        assert ids(await self.journal.dead(SUBSYSTEM)) == ["m0/0", "m1/0", "m2/0", "m3/0"]
        assert ids(await self.journal.dead(SUBSYSTEM, limit=2)) == ["m0/0", "m1/0"]

    async def test_a_kind_nobody_can_execute_is_held_and_shown(self) -> None:
        await self.put("m1", inngest("a"), system_event())
        await self.put("m2", system_event(), key="other")
        assert ids(await self.claim("system_event", "call")) == ["m2/0"]
        held = [entry for entry in await self.journal.outbox(SUBSYSTEM) if entry.held]
        assert ids(held) == ["m1/0", "m1/1"]
        assert {entry.due_ms for entry in held} == {0}

    async def test_what_was_held_comes_with_the_first_claim_of_its_kind(self) -> None:
        await self.put("m1", inngest("a"))
        assert await self.claim("call") == []
        await self.put("m2", inngest("b"))
        assert await self.claim("call") == []
        (entry,) = await self.claim("inngest")
        assert (entry.id, entry.held, entry.attempts) == ("m1/0", False, 0)
        assert await self.journal.complete(entry)
        assert ids(await self.claim("inngest")) == ["m2/0"]

    async def test_a_lane_is_held_again_at_the_next_effect_nobody_can_execute(self) -> None:
        await self.put("m1", system_event(), inngest("a"))
        (entry,) = await self.claim("system_event")
        assert await self.journal.complete(entry)
        assert await self.claim("system_event") == []
        (held,) = await self.journal.outbox(SUBSYSTEM)
        assert (held.id, held.held) == ("m1/1", True)
        assert ids(await self.claim("inngest")) == ["m1/1"]

    async def test_a_lease_that_ran_out_lets_another_claim_and_shuts_the_first_out(self) -> None:
        await self.put("m1", inngest("a"), inngest("b"))
        (first,) = await self.journal.claim(SUBSYSTEM, ["inngest"], 10, SHORT_MS)
        assert await self.claim() == []
        await self.pass_time(SHORT_MS)
        (second,) = await self.claim()
        assert (second.id, second.attempts) == ("m1/0", 0)
        assert second.token != first.token
        assert not await self.journal.complete(first)
        assert await self.journal.fail(first, "late", 0, 1) == "lost"
        assert await self.journal.complete(second)
        assert not await self.journal.complete(second)
        assert ids(await self.claim()) == ["m1/1"]

    async def test_what_is_added_behind_an_effect_ends_neither_its_lease_nor_its_pause(
        self,
    ) -> None:
        await self.put("m1", inngest("a"))
        (entry,) = await self.claim()
        await self.put("m2", inngest("b"))
        assert await self.claim() == []
        assert await self.journal.fail(entry, "not now", 60_000, 3) == "retried"
        await self.put("m3", inngest("c"))
        assert await self.claim() == []

    async def test_a_lease_that_ran_out_unnoticed_still_completes(self) -> None:
        await self.put("m1", inngest("a"))
        (entry,) = await self.journal.claim(SUBSYSTEM, ["inngest"], 10, 1)
        await self.pass_time(5)
        assert await self.journal.complete(entry)
        assert await self.journal.outbox(SUBSYSTEM) == []

    async def test_without_a_token_nothing_is_completed(self) -> None:
        await self.put("m1", inngest("a"))
        (entry,) = await self.journal.outbox(SUBSYSTEM)
        assert entry.token == ""
        assert not await self.journal.complete(entry)
        assert await self.journal.fail(entry, "no", 0, 1) == "lost"
        (claimed,) = await self.claim()
        assert not await self.journal.complete(replace(claimed, token=""))
        assert not await self.journal.complete(replace(claimed, lane="nowhere"))

    async def test_the_outbox_lists_up_to_its_limit(self) -> None:
        await self.put("m1", *(inngest(f"n{n}") for n in range(5)))
        await self.put("m2", *(inngest(f"n{n}") for n in range(5)), key="other")
        assert len(await self.journal.outbox(SUBSYSTEM)) == 10
        assert ids(await self.journal.outbox(SUBSYSTEM, limit=3)) == ["m1/0", "m1/1", "m1/2"]
        assert ids(await self.journal.outbox(SUBSYSTEM, limit=6))[5:] == ["m2/0"]

    # -- several of a lane -----------------------------------------------------------------
    async def test_a_lane_gives_several_of_one_kind_in_order_up_to_the_count(self) -> None:
        await self.put("m1", inngest("a"), inngest("b"), system_event(), inngest("c"))
        await self.put("m2", inngest("d"), key="other")
        claimed = await self.journal.claim(SUBSYSTEM, KINDS, 10, LEASE_MS, together=10)
        assert ids(claimed) == ["m1/0", "m1/1", "m2/0"]
        assert claimed[0].token == claimed[1].token
        assert await self.journal.complete(claimed[0], 2)
        again = await self.journal.claim(SUBSYSTEM, KINDS, 10, LEASE_MS, together=10)
        assert ids(again) == ["m1/2"]

    async def test_what_was_executed_before_one_that_failed_is_gone(self) -> None:
        await self.put("m1", *(inngest(f"n{n}") for n in range(4)))
        for attempts, expected in ((3, "retried"), (1, "dead")):
            entries = await self.journal.claim(SUBSYSTEM, KINDS, 10, LEASE_MS, together=10)
            assert await self.journal.fail(entries[1], "no", 0, attempts, 1) == expected
        assert ids(await self.journal.outbox(SUBSYSTEM)) == ["m1/3"]
        assert ids(await self.journal.dead(SUBSYSTEM)) == ["m1/2"]
        (last,) = await self.claim()
        assert (last.id, last.attempts, last.error) == ("m1/3", 0, "")

    async def test_an_effect_is_held_until_its_kind_is_claimed_and_that_is_no_attempt(
        self,
    ) -> None:
        await self.put("m1", inngest("a"), inngest("b"))
        entries = await self.journal.claim(SUBSYSTEM, KINDS, 10, LEASE_MS, together=10)
        assert await self.journal.hold(entries[1], "nobody is there", 1)
        assert not await self.journal.hold(entries[1], "nobody is there", 1)
        (held,) = await self.journal.outbox(SUBSYSTEM)
        assert (held.id, held.held, held.error) == ("m1/1", True, "nobody is there")
        assert await self.claim("system_event") == []
        (again,) = await self.claim("inngest")
        assert (again.id, again.attempts, again.error) == ("m1/1", 0, "nobody is there")

    # -- where they go ---------------------------------------------------------------------
    async def test_a_target_is_away_with_a_pause_that_doubles_until_it_is_back(self) -> None:
        assert await self.journal.targets.state("inngest") == TargetState()
        for n, wait_ms in enumerate((1000, 2000, 4000, 5000, 5000), 1):
            state = await self.journal.targets.away("inngest", f"no {n}", 1000, 5000)
            assert (state.attempts, state.error, state.wait_ms) == (n, f"no {n}", wait_ms)
        state = await self.journal.targets.away("inngest", "429", 1000, 5000, 60_000)
        assert state.wait_ms == 60_000
        assert (await self.journal.targets.state("inngest")).attempts == 6
        assert await self.journal.targets.state("system_event") == TargetState()
        await self.journal.targets.back("inngest")
        assert await self.journal.targets.state("inngest") == TargetState()

    async def test_of_all_workers_one_makes_the_attempt_that_is_due(self) -> None:
        assert not (await self.journal.targets.probe("inngest")).granted
        await self.journal.targets.away("inngest", "no", SHORT_MS, SHORT_MS)
        assert not (await self.journal.targets.probe("inngest")).granted
        await self.pass_time(SHORT_MS)
        assert (await self.journal.targets.probe("inngest")).granted
        assert not (await self.journal.targets.probe("inngest")).granted

    async def test_effects_are_counted(self) -> None:
        assert await self.journal.tally(SUBSYSTEM) == Tally()
        await self.put("m1", inngest("a"), inngest("b"), now_ms=7000)
        await self.put("m2", system_event(), system_event(), system_event(), key="other")
        await self.claim("inngest")
        tally = await self.journal.tally(SUBSYSTEM)
        assert (tally.held, tally.waiting, tally.oldest_ms) == (3, 2, 7000)
        assert (tally.dead, tally.dead_error) == (0, "")

    async def test_dead_effects_are_counted_with_the_last_error(self) -> None:
        for n in range(3):
            await self.put(f"m{n}", inngest(), key=f"k{n}")
            (entry,) = await self.claim()
            await self.journal.fail(entry, f"no {n}", 0, 1)
            await self.pass_time(2)
        assert await self.journal.tally(SUBSYSTEM) == Tally(dead=3, dead_error="no 2")
