"""Moves and their evidence, as every journal keeps them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.errors import BridgeError
from bridge.journal.values import Noted, Route
from bridge.message import JSON
from tests.journal.case import SUBSYSTEM, JournalCase

ENTRY: dict[str, JSON] = {
    "event": "start",
    "phase": "shadow",
    "by": "ann",
    "why": "é, and a comma",
}


class MoveSuite(JournalCase):
    async def begin(self, share: int = 0, epoch: int = 2, **more: bool) -> Route:
        route = Route(
            *(SUBSYSTEM, "python", None, epoch, 0),
            *("canary" if share else "shadow", "elixir", share),
        )
        record: dict[str, JSON] = {"id": str(epoch), "epoch": epoch}
        assert await self.journal.moves.change(route, record, ENTRY, **more)
        return route

    async def test_a_move_is_written_beside_the_route_if_nobody_was_faster(self) -> None:
        moves = self.journal.moves
        before = await moves.standing(SUBSYSTEM)
        assert (before.route.epoch, before.move) == (1, None)
        route = await self.begin(30)
        standing = await moves.standing(SUBSYSTEM)
        assert replace(standing.route, changed_ms=0) == route
        assert standing.move == {"id": "2", "epoch": 2}
        assert await moves.change(route, {"id": "x"}, ENTRY) is False
        assert (await moves.standing(SUBSYSTEM)).move == {"id": "2", "epoch": 2}
        assert (await self.journal.routes())[0].share == 30
        assert (await self.journal.route_log(SUBSYSTEM))[-1].candidate == "elixir"
        [entry] = await moves.history(SUBSYSTEM)
        assert {**entry, "at_ms": 0} == {"epoch": 2, "at_ms": 0, **ENTRY}

    async def test_the_fence_knows_whose_bucket_a_message_is_in(self) -> None:
        await self.begin(30)
        cases = [
            *(("python", "owner", 30, True), ("python", "owner", 29, False)),
            *(("elixir", "canary", 29, True), ("elixir", "canary", 30, False)),
            *(("python", "fallback", 29, True), ("python", "fallback", 30, False)),
            *(("elixir", "owner", 29, False), ("typescript", "canary", 0, False)),
            ("elixir", "fallback", 0, False),
        ]
        for n, (runtime, reason, bucket, allowed) in enumerate(cases):
            commit = await self.prepare(
                f"m{n}", key=f"k{n}", runtime=runtime, reason=reason, bucket=bucket
            )
            status = (await self.journal.commit(commit, 1000)).status
            assert status == ("committed" if allowed else "stale"), (runtime, reason, bucket)

    async def test_what_was_computed_before_a_move_changed_is_stale(self) -> None:
        commit = await self.prepare("m1")
        await self.begin()
        await self.refused(commit, "stale")
        await self.put("m1")

    async def test_a_route_by_hand_waits_for_the_end_of_a_move(self) -> None:
        await self.begin()
        with pytest.raises(BridgeError) as refused:
            await self.journal.set_route(SUBSYSTEM, "elixir", None)
        assert refused.value.code == "invalid_request"
        route = await self.journal.renew_route(SUBSYSTEM)
        assert (route.epoch, route.phase, route.candidate) == (3, "shadow", "elixir")
        ended = Route(SUBSYSTEM, "python", None, 4, 0, "rolled_back")
        assert await self.journal.moves.change(ended, {"id": "2"}, ENTRY)
        route = await self.journal.set_route(SUBSYSTEM, "elixir", None, by="ann", why="so")
        assert (route.epoch, route.phase, route.candidate) == (5, "steady", None)
        assert (await self.journal.moves.standing(SUBSYSTEM)).move is None
        last = (await self.journal.moves.history(SUBSYSTEM))[-1]
        assert (last["event"], last["by"], last["epoch"]) == ("route", "ann", 5)

    async def test_evidence_is_a_sum_and_of_one_move_and_build(self) -> None:
        moves = self.journal.moves
        assert await moves.note(SUBSYSTEM, 1, Noted({"same": 1}, {}, [])) is False
        await self.begin()
        assert await moves.note(SUBSYSTEM, 1, Noted({"same": 1}, {}, [])) is False
        first = Noted(
            {"same": 2, "sig:x": 1}, {"sample:x": "a"}, ['{"id":"m1"}'], "b1", lost=True
        )
        assert await moves.note(SUBSYSTEM, 2, first)
        assert await moves.note(SUBSYSTEM, 3, replace_samples(first))
        found = await moves.evidence(SUBSYSTEM)
        assert {
            name: found[name] for name in ("same", "sig:x", "sample:x", "build", "losses")
        } == {
            "same": "4",
            "sig:x": "2",
            "sample:x": "a",
            "build": "b1",
            "losses": "1",
        }
        assert await moves.trace(SUBSYSTEM, "m1") == {"id": "m1"}
        assert await moves.trace(SUBSYSTEM, "m2") is None
        await moves.note(SUBSYSTEM, 3, Noted({"same": 7}, {}, [], "b2"))
        found = await moves.evidence(SUBSYSTEM)
        assert (found["same"], found["build"], found["restarts"]) == ("7", "b2", "1")
        assert "sig:x" not in found

    async def test_in_a_canary_what_speaks_against_any_build_stays(self) -> None:
        moves = self.journal.moves
        await self.begin(30)
        first = {"same": 2, "sig:x": 1, "violations": 1, "asked:30": 3}
        await moves.note(SUBSYSTEM, 2, Noted(first, {"sample:x": "a"}, [], "b1", lost=True))
        await moves.note(SUBSYSTEM, 2, Noted({"same": 1}, {}, [], "b2"))
        await moves.note(SUBSYSTEM, 2, Noted({"same": 1, "sig:x": 1}, {}, [], "b3"))
        found = await moves.evidence(SUBSYSTEM)
        names = (
            "build",
            "same",
            "before",
            "sig:x",
            "sample:x",
            "violations",
            "losses",
            "restarts",
        )
        assert [found[name] for name in names] == ["b3", "1", "3", "2", "a", "1", "1", "2"]
        assert "asked:30" not in found

    async def test_evidence_of_an_earlier_move_goes_with_the_next(self) -> None:
        moves = self.journal.moves
        await self.begin()
        await moves.note(SUBSYSTEM, 2, Noted({"same": 2}, {}, []))
        await self.begin(epoch=3, fresh=True)
        assert await moves.evidence(SUBSYSTEM) == {}

    async def test_signatures_beyond_two_hundred_are_one(self) -> None:
        await self.begin()
        counts = {f"sig:{n}": 1 for n in range(210)}
        await self.journal.moves.note(SUBSYSTEM, 2, Noted(counts, {}, []))
        found = await self.journal.moves.evidence(SUBSYSTEM)
        assert found["sig:other"] == "10"
        assert sum(name.startswith("sig:") for name in found) == 201

    async def test_accepted_differences_are_kept_until_they_are_forgotten(self) -> None:
        moves = self.journal.moves
        await moves.accept(SUBSYSTEM, "a", {"id": "a"})
        assert await moves.accepted(SUBSYSTEM) == [{"id": "a"}]
        assert await moves.accept(SUBSYSTEM, "a", None) is True
        assert await moves.accept(SUBSYSTEM, "a", None) is False
        assert await moves.accepted(SUBSYSTEM) == []


def replace_samples(noted: Noted) -> Noted:
    return noted._replace(samples={"sample:x": "b"}, traces=[])
