"""Who is there: each under a lease, and what changes is an event of the key."""

from __future__ import annotations

from typing import Any

import orjson

from bridge.journal.values import Present
from tests.journal.case import LEASE_MS, SHORT_MS, SUBSYSTEM, JournalCase

ANN = Present("k", "r1", "ann", {"device": "phone"})
ANN_TOO = Present("k", "r2", "ann", {})
ZOE = Present("k", "r3", "zoë", {})
PHONE = {"device": "phone", "phx_ref": "r1"}


class PresenceSuite(JournalCase):
    async def turn(self, *here: Present, **given: Any) -> Any:
        """Make one turn; return who is at `k`."""
        given = {"lease_ms": LEASE_MS, **given}
        found = await self.journal.presence.turn(SUBSYSTEM, here, asked=["k"], **given)
        return orjson.loads(found["k"])

    async def diffs(self) -> list[Any]:
        return [event.payload for event in await self.journal.events_after(SUBSYSTEM, "0-0")]

    async def test_several_devices_of_one_id_are_shown_together(self) -> None:
        assert await self.turn() == {}
        await self.turn(ANN, ZOE)
        there = await self.turn(ANN_TOO)
        assert list(there) == ["ann", "zoë"]
        refs = sorted(meta["phx_ref"] for meta in there["ann"]["metas"])
        assert (refs, there["zoë"]) == (["r1", "r2"], {"metas": [{"phx_ref": "r3"}]})

    async def test_what_changes_of_a_key_in_one_turn_is_one_event(self) -> None:
        await self.turn(ANN, Present("other", "r4", "bob", {}))
        await self.turn(ANN)  # it stays: nothing changed
        await self.turn(ZOE, gone=[ANN, Present("k", "unknown", "eve", {})])
        events = await self.journal.events_after(SUBSYSTEM, "0-0")
        assert [(event.key, event.type) for event in events] == [
            ("k", "presence_diff"),
            ("other", "presence_diff"),
            ("k", "presence_diff"),
        ]
        first, _, last = await self.diffs()
        assert first == {"joins": {"ann": {"metas": [PHONE]}}, "leaves": {}}
        assert last == {
            "joins": {"zoë": {"metas": [{"phx_ref": "r3"}]}},
            "leaves": {"ann": {"metas": [PHONE]}},
        }
        assert await self.journal.last_position(SUBSYSTEM) == events[-1].position

    async def test_whose_lease_ended_goes_and_who_renews_it_stays(self) -> None:
        await self.turn(ANN, ZOE, lease_ms=SHORT_MS)
        await self.turn(ZOE)
        await self.pass_time(SHORT_MS)
        assert list(await self.turn()) == ["zoë"]
        assert (await self.diffs())[-1] == {"joins": {}, "leaves": {"ann": {"metas": [PHONE]}}}

    async def test_an_operation_is_told_who_is_there_by_one_timer(self) -> None:
        await self.turn(ZOE, told="presence")
        [first] = await self.journal.timers(SUBSYSTEM)
        await self.turn(ANN, ANN_TOO, told="presence")
        [timer] = await self.journal.timers(SUBSYSTEM)
        assert (timer.key, timer.id, timer.operation) == ("k", "presence", "presence")
        assert timer.request == {"present": ["ann", "zoë"]}
        assert timer.due_ms == first.due_ms  # who comes all the time does not put it off
        assert timer.set_by != first.set_by
        await self.pass_time(SHORT_MS + 500)
        assert await self.journal.due_timers(SUBSYSTEM, 10, LEASE_MS) == [timer]
        await self.turn(gone=[ZOE], told="presence")
        [timer] = await self.journal.timers(SUBSYSTEM)
        assert timer.request == {"present": ["ann"]}
