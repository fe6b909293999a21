"""Entries with patches: every state is there again, before and after, also behind a trim."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.journal.records import WHOLE_AFTER_MS, WHOLE_EVERY, with_states
from bridge.message import JSON
from tests.journal.case import SUBSYSTEM, JournalCase


def state_of(n: int, most: int = 50) -> JSON:
    """Return the state after commit n: ids that move on, and what else changes."""
    ids = [f"event-{m:08}" for m in range(max(0, n - most), n)]
    return {"mode": "awake" if n % 10 else "asleep", "seen": {"ids": ids}, "none": None}


class StatesSuite(JournalCase):
    async def filled(self, count: int, *keys: str) -> dict[str, list[tuple[str, dict[str, Any]]]]:
        """Commit so many times to each key in turn; return each one's entries."""
        for n in range(count):
            for key in keys:
                await self.put(f"{key}-{n}", key=key, state=state_of(n))
        everything = await self.journal.entries(SUBSYSTEM, count=10_000)
        return {key: [row for row in everything if row[1]["key"] == key] for key in keys}

    async def test_each_state_is_told_before_and_after_its_entry(self) -> None:
        for entries in (await self.filled(150, "a", "b")).values():
            for n, (position, entry) in enumerate(entries):
                before = state_of(n - 1) if n else None
                assert await self.journal.states(SUBSYSTEM, position) == (before, state_of(n))
                assert entry["before"] == (entries[n - 1][0] if n else "")

    async def test_an_entry_has_a_patch_or_now_and_then_the_state(self) -> None:
        entries = (await self.filled(150, "a"))["a"]
        whole = [n for n, (_, entry) in enumerate(entries) if "state" in entry]
        assert all(("patch" in entry) != ("state" in entry) for _, entry in entries)
        # The first ones are small: a patch is not much smaller.
        late = [n for n in whole if n > 10]
        assert late == [late[0] + WHOLE_EVERY * step for step in range(len(late))]
        assert len(late) >= 2

    async def test_a_key_whose_last_whole_state_is_old_gets_another(self) -> None:
        await self.filled(20, "a")
        late = await self.prepare("late", key="a", state=state_of(20))
        assert late.base is not None
        old = replace(late, base=late.base._replace(age_ms=WHOLE_AFTER_MS))
        assert (await self.journal.commit(old, 5000)).status == "committed"
        [(_, entry)] = (await self.journal.entries(SUBSYSTEM, key="a"))[20:]
        assert entry["state"] == state_of(20)

    async def test_rebuilding_from_the_journal_gives_the_states(self) -> None:
        await self.filled(70, "a", "b")
        entries = [entry for _, entry in await self.journal.entries(SUBSYSTEM)]
        rebuilt = {entry["key"]: entry["state"] for entry in with_states(entries)}
        assert sorted(rebuilt) == await self.journal.keys(SUBSYSTEM)
        for key, state in rebuilt.items():
            assert (await self.journal.read(SUBSYSTEM, key)).state == state

    async def test_what_a_later_entry_builds_on_is_not_trimmed(self) -> None:
        entries = (await self.filled(100, "busy", "idle"))["busy"]
        for n in range(100, 130):
            await self.put(f"busy-{n}", key="busy", state=state_of(n))
        everything = await self.journal.entries(SUBSYSTEM)
        before = everything[-5][0]
        await self.journal.mark_exported(SUBSYSTEM, before)
        assert await self.journal.trim(SUBSYSTEM, before) > 60
        left = await self.journal.entries(SUBSYSTEM)
        assert left[-5:] == everything[-5:]
        assert "state" in left[0][1]
        for position, entry in left[1:]:
            if entry["key"] == "busy":
                n = int(entry["id"].partition("-")[2])
                states = await self.journal.states(SUBSYSTEM, position)
                assert states[1] == state_of(n)
        for gone in (entries[0][0], left[0][0]):  # the entry, and the state before it
            with pytest.raises(BridgeError, match="no entry at"):
                await self.journal.states(SUBSYSTEM, gone)

    async def test_a_key_whose_entries_were_all_trimmed_begins_with_its_state(self) -> None:
        await self.filled(30, "idle")
        await self.put("other", key="busy")
        last = (await self.journal.entries(SUBSYSTEM))[-1][0]
        stale = await self.prepare("late", key="idle", state=state_of(30))
        await self.journal.mark_exported(SUBSYSTEM, last)
        assert await self.journal.trim(SUBSYSTEM, last) == 30
        # A patch made before the trim would build on what is gone.
        assert (await self.journal.commit(stale, 5000)).status == "stale"
        await self.put("again", key="idle", state=state_of(30))
        [(position, entry)] = await self.journal.entries(SUBSYSTEM, key="idle")
        assert entry["state"] == state_of(30)
        with pytest.raises(BridgeError, match="builds on was trimmed"):
            await self.journal.states(SUBSYSTEM, position)

    async def test_the_states_of_no_entry_are_refused(self) -> None:
        await self.put("m1")
        for position in ("1-1", "yesterday"):
            with pytest.raises(BridgeError) as caught:
                await self.journal.states(SUBSYSTEM, position)
            assert caught.value.code == "invalid_request"
