"""What a commit checks, and in which order; what a read tells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.errors import BridgeError
from bridge.journal.values import Done
from bridge.message import JSON, Version
from tests.journal.case import (
    SHORT_MS,
    SUBSYSTEM,
    JournalCase,
    emit,
    inngest,
    schedule,
    system_event,
)

FAR_MS = 4_000_000_000_000

EVERY_EFFECT = (emit(n=1), inngest(), schedule(at_ms=FAR_MS), system_event())


class CommitSuite(JournalCase):
    async def test_a_key_nothing_was_committed_to_has_version_zero_and_no_state(self) -> None:
        snapshot = await self.journal.read(SUBSYSTEM, "k", "m1", "digest")
        assert snapshot.version == Version(0, "")
        assert snapshot.state is None
        assert snapshot.last_ms == 0
        assert snapshot.done is None
        assert (snapshot.route.owner, snapshot.route.epoch) == ("python", 1)

    async def test_a_commit_is_what_the_next_read_tells(self) -> None:
        commit = await self.prepare("m1", *EVERY_EFFECT)
        committed = await self.journal.commit(commit, 5000)
        assert (committed.status, committed.version) == ("committed", Version(1, "m1"))
        snapshot = await self.journal.read(SUBSYSTEM, "k", "m1")
        assert snapshot.version == Version(1, "m1")
        assert snapshot.state == {"last": "m1"}
        assert snapshot.last_ms == 1_800_000_000_123
        assert snapshot.done == Done("m1", "print-of-m1", {"answer": "m1"}, 1)

    async def test_a_repeated_message_gets_its_first_reply_and_writes_nothing(self) -> None:
        first = await self.prepare("m1", *EVERY_EFFECT)
        await self.journal.commit(first, 5000)
        again = replace(await self.prepare("m1", *EVERY_EFFECT), reply={"answer": "other"})
        committed = await self.refused(again, "duplicate")
        assert committed.done == Done("m1", "print-of-m1", {"answer": "m1"}, 1)

    async def test_a_repeat_is_a_duplicate_even_when_all_else_has_moved_on(self) -> None:
        first = await self.prepare("m1", schedule("x"))
        await self.journal.commit(first, 5000)
        await self.put("m2")
        await self.journal.set_route(SUBSYSTEM, "elixir", None)
        late = replace(first, timer="gone", set_by="nobody")
        assert (await self.refused(late, "duplicate")).version == Version(1, "m1")

    async def test_the_same_id_with_another_payload_is_a_conflict(self) -> None:
        await self.put("m1")
        other = await self.prepare("m1", fingerprint="print-of-something-else")
        assert (await self.refused(other, "conflict")).done is None

    async def test_a_fingerprint_that_begins_like_the_first_is_a_conflict(self) -> None:
        await self.put("m1", fingerprint="abc")
        await self.refused(await self.prepare("m1", fingerprint="ab"), "conflict")
        await self.refused(await self.prepare("m1", fingerprint="abcd"), "conflict")

    async def test_a_state_has_the_version_of_the_contract_it_was_written_under(self) -> None:
        assert (await self.journal.read(SUBSYSTEM, "k")).contract == 0
        await self.put("m1", contract=3)
        assert (await self.journal.read(SUBSYSTEM, "k")).contract == 3
        await self.put("m2", contract=4)
        assert (await self.journal.read(SUBSYSTEM, "k")).contract == 4

    async def test_an_idempotency_key_under_another_id_gets_the_first_reply(self) -> None:
        await self.put("m1", idempotency="digest", fingerprint="same")
        again = await self.prepare("m2", idempotency="digest", fingerprint="same")
        committed = await self.refused(again, "duplicate")
        assert committed.done == Done("m1", "same", {"answer": "m1"}, 1)
        snapshot = await self.journal.read(SUBSYSTEM, "k", "m2", "digest")
        assert snapshot.done == committed.done

    async def test_an_idempotency_key_with_another_payload_is_a_conflict(self) -> None:
        await self.put("m1", idempotency="digest", fingerprint="one")
        await self.refused(
            await self.prepare("m2", idempotency="digest", fingerprint="two"), "conflict"
        )

    async def test_a_number_that_moved_on_is_stale(self) -> None:
        commit = await self.prepare("m2")
        await self.put("m1")
        assert (await self.refused(commit, "stale")).version == Version(1, "m1")

    async def test_the_same_number_made_by_another_message_is_stale(self) -> None:
        await self.put("m1")
        commit = await self.prepare("m2", expected=Version(1, "another"))
        assert (await self.refused(commit, "stale")).version == Version(1, "m1")

    async def test_a_number_ahead_of_the_state_is_stale(self) -> None:
        commit = await self.prepare("m1", expected=Version(1, ""))
        assert (await self.refused(commit, "stale")).version == Version(0, "")

    async def test_a_change_of_owner_fences_what_was_computed_before(self) -> None:
        commit = await self.prepare("m1")
        await self.journal.set_route(SUBSYSTEM, "elixir", None)
        await self.refused(commit, "stale")

    async def test_an_owner_that_left_and_came_back_does_not_revive_an_old_result(self) -> None:
        commit = await self.prepare("m1")
        await self.journal.set_route(SUBSYSTEM, "elixir", None)
        await self.journal.set_route(SUBSYSTEM, "python", None)
        await self.refused(commit, "stale")
        assert await self.put("m1") == Version(1, "m1")

    async def test_a_runtime_that_is_not_the_owner_cannot_commit_as_the_owner(self) -> None:
        await self.journal.set_route(SUBSYSTEM, "elixir", "python")
        await self.refused(await self.prepare("m1", runtime="python"), "stale")
        await self.refused(await self.prepare("m1", runtime="typescript"), "stale")

    async def test_the_fallback_commits_and_no_other_runtime_in_its_name(self) -> None:
        await self.journal.set_route(SUBSYSTEM, "elixir", "python")
        for runtime in ("elixir", "typescript"):
            commit = await self.prepare("m1", runtime=runtime, reason="fallback")
            await self.refused(commit, "stale")
        assert await self.put("m1", runtime="python", reason="fallback") == Version(1, "m1")

    async def test_without_a_fallback_nobody_commits_as_one(self) -> None:
        commit = await self.prepare("m1", runtime="python", reason="fallback")
        await self.refused(commit, "stale")

    async def test_without_a_route_a_commit_is_stale_and_a_read_says_so(self) -> None:
        commit = await self.prepare("m1")
        committed = await self.journal.commit(replace(commit, subsystem="routeless"), 5000)
        assert committed.status == "stale"
        with pytest.raises(BridgeError, match="no route") as caught:
            await self.journal.read("routeless", "k")
        assert caught.value.code == "storage_unavailable"

    async def test_a_done_record_is_forgotten_after_its_time(self) -> None:
        self.journal = await self.open_journal(done_ttl_ms=SHORT_MS)
        await self.put("m1", idempotency="digest")
        assert (await self.journal.read(SUBSYSTEM, "k", "m1", "digest")).done is not None
        await self.pass_time(SHORT_MS)
        assert (await self.journal.read(SUBSYSTEM, "k", "m1", "digest")).done is None
        assert await self.put("m1", idempotency="digest") == Version(2, "m1")

    async def test_keys_are_any_text(self) -> None:
        names = ["a:b:c", "with space", "grüße/日本語/🧭", "{braces}", "*", "k" * 200]
        for n, name in enumerate(names):
            effects = (emit(key=name), inngest(), schedule(at_ms=FAR_MS))
            await self.put(f"m{n}", *effects, key=name, state={"of": name})
        assert await self.journal.keys(SUBSYSTEM) == sorted(names)
        for n, name in enumerate(names):
            snapshot = await self.journal.read(SUBSYSTEM, name)
            assert (snapshot.version, snapshot.state) == (Version(1, f"m{n}"), {"of": name})
        events = await self.journal.events_after(SUBSYSTEM, "0-0")
        assert [event.key for event in events] == names
        assert sorted(timer.key for timer in await self.journal.timers(SUBSYSTEM)) == sorted(
            names
        )
        assert sorted(entry.lane for entry in await self.claim()) == sorted(names)

    async def test_states_come_back_as_they_were(self) -> None:
        states: list[JSON] = [
            {},
            [],
            {"list": [], "object": {}, "null": None, "false": False},
            {"text": "", "more": '日本語 \u2028 \\ " \n 🧭', "": {"__x": [1, [2, [3]]]}},
            {"n": [2**53 - 1, -(2**53 - 1), 0, 0.1, 1e-7, 123456.789]},
            {"pad": "ü" * 500_000},
        ]
        for n, state in enumerate(states):
            await self.put(f"m{n}", state=state, reply=state)
            snapshot = await self.journal.read(SUBSYSTEM, "k", f"m{n}")
            assert snapshot.state == state
            assert snapshot.done is not None
            assert snapshot.done.reply == state

    async def test_what_a_reader_does_to_a_state_stays_with_the_reader(self) -> None:
        state = {"list": [1]}
        await self.put("m1", state=state)
        state["list"].append(2)
        mine = (await self.journal.read(SUBSYSTEM, "k")).state
        assert mine is not None
        mine["list"].append(3)
        assert (await self.journal.read(SUBSYSTEM, "k")).state == {"list": [1]}

    async def test_an_effect_outside_the_list_writes_nothing(self) -> None:
        before = await self.everything()
        with pytest.raises(ValueError, match="'teleport'"):
            await self.put("m1", emit(), {"effect": "teleport"})
        assert await self.everything() == before

    async def test_subsystems_do_not_see_each_other(self) -> None:
        await self.journal.ensure_route("other", "typescript", None)
        await self.put("m1", *EVERY_EFFECT)
        assert (await self.journal.read("other", "k", "m1")).version == Version()
        assert await self.put("m1", subsystem="other") == Version(1, "m1")
