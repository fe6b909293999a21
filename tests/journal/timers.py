"""Timers: named for each key, replaced, cancelled, fired by the commit they cause."""

from __future__ import annotations

from bridge.journal.values import Timer
from bridge.message import Version
from tests.journal.case import LEASE_MS, SHORT_MS, SUBSYSTEM, JournalCase, cancel, ids, schedule

FAR_MS = 4_000_000_000_000


class TimerSuite(JournalCase):
    async def due(self, lease_ms: int = LEASE_MS, count: int = 10) -> list[Timer]:
        return await self.journal.due_timers(SUBSYSTEM, count, lease_ms)

    async def test_a_timer_tells_all_its_message_needs(self) -> None:
        await self.put("m1", schedule("later", 7, n=1, empty=[]))
        (timer,) = await self.due()
        assert timer == Timer(
            SUBSYSTEM, "k", "later", 7, "add_later", {"n": 1, "empty": []}, "m1/0"
        )

    async def test_a_timer_that_is_not_due_waits(self) -> None:
        await self.put("m1", schedule("later", FAR_MS))
        assert await self.due() == []
        assert ids(await self.journal.timers(SUBSYSTEM)) == ["later"]

    async def test_the_store_s_clock_says_what_is_due(self) -> None:
        await self.put("m1", schedule("first", 1))
        await self.journal.set_route(SUBSYSTEM, "python", None)  # its changed_ms is the clock's
        now_ms = (await self.journal.routes())[0].changed_ms
        await self.put("m2", schedule("soon", now_ms + SHORT_MS), key="other")
        assert ids(await self.due()) == ["first"]
        await self.pass_time(SHORT_MS)
        assert ids(await self.due()) == ["soon"]

    async def test_a_leased_timer_comes_again_when_it_was_not_fired(self) -> None:
        await self.put("m1", schedule("later", 7))
        assert ids(await self.due(lease_ms=SHORT_MS)) == ["later"]
        assert await self.due() == []
        await self.pass_time(SHORT_MS)
        (again,) = await self.due()
        assert (again.id, again.due_ms) == ("later", 7)

    async def test_firing_a_timer_removes_it_in_the_same_commit(self) -> None:
        await self.put("m1", schedule("later", 7))
        await self.put("t1", timer="later", set_by="m1/0")
        assert await self.journal.timers(SUBSYSTEM) == []
        await self.refused(await self.prepare("t2", timer="later", set_by="m1/0"), "timer_gone")

    async def test_a_commit_that_fires_a_timer_and_sets_it_again_leaves_the_new_one(self) -> None:
        await self.put("m1", schedule("later", 7))
        await self.put("t1", schedule("later", FAR_MS, n=2), timer="later", set_by="m1/0")
        (timer,) = await self.journal.timers(SUBSYSTEM)
        assert (timer.due_ms, timer.set_by, timer.request) == (FAR_MS, "t1/0", {"n": 2})

    async def test_setting_a_timer_again_replaces_it_and_shuts_its_message_out(self) -> None:
        await self.put("m1", schedule("later", 7))
        await self.put("m2", schedule("later", 9))
        (timer,) = await self.journal.timers(SUBSYSTEM)
        assert (timer.due_ms, timer.set_by) == (9, "m2/0")
        await self.refused(await self.prepare("t1", timer="later", set_by="m1/0"), "timer_gone")

    async def test_the_last_of_two_settings_in_one_commit_stands(self) -> None:
        await self.put("m1", schedule("later", 7), cancel("later"), schedule("later", 9))
        (timer,) = await self.journal.timers(SUBSYSTEM)
        assert (timer.due_ms, timer.set_by) == (9, "m1/2")

    async def test_a_cancelled_timer_is_gone(self) -> None:
        await self.put("m1", schedule("later", 7), schedule("kept", 8))
        await self.put("m2", cancel("later"), cancel("unknown"))
        assert ids(await self.journal.timers(SUBSYSTEM)) == ["kept"]
        await self.refused(await self.prepare("t1", timer="later", set_by="m1/0"), "timer_gone")

    async def test_timers_of_one_name_on_two_keys_are_two(self) -> None:
        await self.put("m1", schedule("later", 7), key="a")
        await self.put("m2", schedule("later", 8), key="b")
        await self.put("m3", cancel("later"), key="a")
        assert [timer.key for timer in await self.due()] == ["b"]
        await self.refused(
            await self.prepare("t1", key="a", timer="later", set_by="m2/0"), "timer_gone"
        )

    async def test_due_timers_come_oldest_first_and_no_more_than_asked(self) -> None:
        await self.put("m1", schedule("c", 3), schedule("a", 1), schedule("b", 2))
        assert ids(await self.due(count=2)) == ["a", "b"]
        assert ids(await self.due()) == ["c"]

    async def test_a_failed_timer_comes_again_later_with_its_true_due_time(self) -> None:
        await self.put("m1", schedule("later", 7))
        (timer,) = await self.due()
        assert await self.journal.fail_timer(timer, "refused", SHORT_MS, 3) == "retried"
        assert await self.due() == []
        await self.pass_time(SHORT_MS)
        (again,) = await self.due()
        assert (again.due_ms, again.attempts, again.error) == (7, 1, "refused")

    async def test_a_timer_that_keeps_failing_is_buried_and_redriven_due_now(self) -> None:
        await self.put("m1", schedule("later", 7, n=1))
        (timer,) = await self.due()
        assert await self.journal.fail_timer(timer, "no way", 0, 1) == "dead"
        assert await self.journal.timers(SUBSYSTEM) == []
        (letter,) = await self.journal.dead(SUBSYSTEM)
        assert (letter.id, letter.what, letter.kind) == ("m1/0", "timer", "schedule")
        assert (letter.key, letter.error, letter.attempts) == ("k", "no way", 1)
        assert letter.body == {
            "id": "later",
            "due_ms": 7,
            "operation": "add_later",
            "request": {"n": 1},
            "set_by": "m1/0",
        }
        await self.refused(await self.prepare("t1", timer="later", set_by="m1/0"), "timer_gone")
        assert await self.journal.redrive(SUBSYSTEM, "m1/0")
        assert await self.journal.dead(SUBSYSTEM) == []
        assert await self.due() == [timer]
        assert await self.put("t1", timer="later", set_by="m1/0") == Version(2, "t1")

    async def test_a_dead_timer_does_not_replace_one_set_since(self) -> None:
        await self.put("m1", schedule("later", 7))
        (timer,) = await self.due()
        await self.journal.fail_timer(timer, "no way", 0, 1)
        await self.put("m2", schedule("later", FAR_MS))
        assert not await self.journal.redrive(SUBSYSTEM, "m1/0")
        assert ids(await self.journal.dead(SUBSYSTEM)) == ["m1/0"]
        assert [timer.set_by for timer in await self.journal.timers(SUBSYSTEM)] == ["m2/0"]

    async def test_failing_a_timer_that_was_replaced_is_lost(self) -> None:
        await self.put("m1", schedule("later", 7))
        (timer,) = await self.due()
        await self.put("m2", schedule("later", 8))
        assert await self.journal.fail_timer(timer, "late", 0, 1) == "lost"
        (standing,) = await self.journal.timers(SUBSYSTEM)
        assert (standing.attempts, standing.error) == (0, "")

    async def test_timers_are_listed_up_to_a_limit(self) -> None:
        await self.put("m1", *(schedule(f"t{n}", FAR_MS + n) for n in range(5)))
        assert ids(await self.journal.timers(SUBSYSTEM, limit=2)) == ["t0", "t1"]
