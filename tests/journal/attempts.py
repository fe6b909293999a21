"""Attempts of claimed calls: counted, kept, put off, ended; never more than so many at once."""

from __future__ import annotations

from bridge.journal.values import OutboxEntry, Place
from bridge.message import JSON
from tests.journal.case import LEASE_MS, SHORT_MS, SUBSYSTEM, JournalCase, cancel, ids

PLACE = Place("ask", 1)
FAR_MS = 80_000_000


def call(id_: str = "mine", **more: JSON) -> dict[str, JSON]:
    return {
        "effect": "call",
        "id": id_,
        "to": "ask",
        "request": {},
        "then": "told",
        "timeout_ms": FAR_MS,
        **more,
    }


class AttemptSuite(JournalCase):
    async def claimed(self, message: str = "m1", key: str = "k") -> OutboxEntry:
        await self.put(message, call(), key=key, now_ms=4_000_000_000_000)
        (entry,) = await self.claim("call")
        return entry

    async def attempt(self, entry: OutboxEntry, lease_ms: int = LEASE_MS, most: int = 3) -> str:
        return (await self.journal.attempts.begin(entry, PLACE, lease_ms, most)).status

    async def kept(self, entry: OutboxEntry) -> str:
        return (await self.journal.attempts.keep(entry, PLACE, LEASE_MS)).status

    async def test_a_call_sets_a_timer_of_its_name_for_the_end_of_its_time(self) -> None:
        await self.put("m1", call(timeout_ms=5), now_ms=1_000)
        (timer,) = await self.journal.timers(SUBSYSTEM)
        assert (timer.id, timer.due_ms, timer.operation) == ("mine", 1_005, "told")
        assert timer.set_by == "m1/0"
        assert timer.request["error"]["code"] == "timeout"

    async def test_a_call_without_a_name_has_its_effects_id(self) -> None:
        effect = call()
        del effect["id"]
        await self.put("m1", effect)
        assert ids(await self.journal.timers(SUBSYSTEM)) == ["m1/0"]

    async def test_an_attempt_is_counted_when_it_begins(self) -> None:
        entry = await self.claimed()
        assert (entry.lane, entry.attempts) == ("m1/0", 0)
        assert await self.attempt(entry, lease_ms=SHORT_MS) == "begun"
        await self.pass_time(SHORT_MS)  # whoever began it is gone
        (again,) = await self.claim("call")
        assert again.attempts == 1
        assert await self.attempt(again, most=1) == "spent"
        assert await self.attempt(again, most=2) == "begun"
        assert await self.attempt(entry) == "lost"
        assert await self.kept(entry) == "lost"

    async def test_one_that_is_kept_is_nobody_else_s(self) -> None:
        entry = await self.claimed()
        assert await self.attempt(entry, lease_ms=SHORT_MS) == "begun"
        assert await self.kept(entry) == "kept"
        await self.pass_time(SHORT_MS)
        assert await self.claim("call") == []

    async def test_done_it_is_gone(self) -> None:
        entry = await self.claimed()
        await self.attempt(entry)
        assert await self.journal.attempts.done(entry, PLACE)
        assert not await self.journal.attempts.done(entry, PLACE)
        assert await self.journal.outbox(SUBSYSTEM) == []

    async def test_put_off_it_comes_again_with_what_was_wrong(self) -> None:
        entry = await self.claimed()
        await self.attempt(entry)
        assert await self.journal.attempts.later(entry, PLACE, SHORT_MS, "no")
        assert await self.claim("call") == []
        await self.pass_time(SHORT_MS)
        (again,) = await self.claim("call")
        assert (again.attempts, again.error) == (1, "no")
        assert await self.attempt(again) == "begun"
        assert await self.journal.attempts.later(again, PLACE, 0, "away", uncounted=True)
        (last,) = await self.claim("call")
        assert last.attempts == 1

    async def test_an_answer_that_could_not_be_told_is_kept_and_nothing_is_begun_again(
        self,
    ) -> None:
        entry = await self.claimed()
        await self.attempt(entry)
        await self.journal.attempts.later(entry, PLACE, 0, "not now", b'{"ok":1}')
        (again,) = await self.claim("call")
        state = await self.journal.attempts.begin(again, PLACE, LEASE_MS, 1)
        assert (state.status, state.answer) == ("answered", b'{"ok":1}')

    async def test_cancelled_it_is_gone_whoever_has_it(self) -> None:
        entry = await self.claimed()
        await self.attempt(entry)
        await self.put("m2", cancel("mine"))
        assert await self.kept(entry) == "gone"
        assert await self.journal.outbox(SUBSYSTEM) == []
        entry = await self.claimed("m3")
        await self.put("m4", cancel("mine"))
        assert await self.attempt(entry) == "gone"

    async def test_replaced_it_is_gone_and_the_new_one_stands(self) -> None:
        entry = await self.claimed()
        await self.attempt(entry)
        after = await self.claimed("m2")
        assert await self.kept(entry) == "gone"
        assert await self.attempt(after) == "begun"

    async def test_no_more_than_allowed_run_and_the_first_that_waits_is_the_next(self) -> None:
        running = await self.claimed("m1", "a")
        second, third = await self.claimed("m2", "b"), await self.claimed("m3", "c")
        assert await self.attempt(running) == "begun"
        assert await self.attempt(second) == "waits"
        assert await self.attempt(third) == "waits"
        assert await self.claim("call") == []
        await self.journal.attempts.done(running, PLACE)
        (after,) = await self.claim("call")
        assert after.id == "m2/0"
        assert await self.attempt(after) == "begun"

    async def test_a_place_whose_holder_is_gone_is_free(self) -> None:
        running = await self.claimed("m1", "a")
        assert await self.attempt(running, lease_ms=SHORT_MS) == "begun"
        await self.pass_time(SHORT_MS)
        assert ids(await self.claim("call")) == ["m1/0"]
        assert await self.attempt(await self.claimed("m2", "b")) == "begun"

    async def test_where_no_service_is_there_nothing_is_begun(self) -> None:
        entry = await self.claimed()
        state = await self.journal.attempts.begin(entry, PLACE, LEASE_MS, 3, "stream", b"event")
        assert state.status == "away"
        (again,) = await self.journal.outbox(SUBSYSTEM)
        assert again.attempts == 0
