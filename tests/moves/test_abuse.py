"""Candidates and traffic that would turn a move's own evidence against it."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest

from bridge import mover
from bridge.errors import BridgeError
from bridge.journal.values import Noted
from bridge.message import Message
from bridge.moves.comparison import Rules, compare
from tests.deadline import DEADLINE_S
from tests.moves.test_moving import wrong_total
from tests.moves.world import World, run
from tests.subsystems.counter.counter import handle as counter


@pytest.mark.parametrize(
    ("owner", "candidate", "tolerated", "kinds"),
    [
        ([0] * 4000, [0] * 4000 + [1], False, {"extra"}),
        ([0, 1] * 2000, [1, 0] * 2000, False, {"order"}),
        (list(range(4000)), list(range(4000))[::-1], False, {"order"}),
        (list(range(4000)), list(range(10**6, 10**6 + 4000)), True, {"value"}),
        (list(range(0, 8000, 2)), list(range(1, 8001, 2)), True, set[str]()),
        ([[n] * 50 for n in range(80)], [[n + 1] * 50 for n in range(80)], False, {"value"}),
    ],
    ids=["one more", "shifted", "reversed", "far", "near", "lists in lists"],
)
def test_long_arrays_are_compared_in_a_bounded_number_of_steps(
    owner: Any, candidate: Any, tolerated: bool, kinds: set[str]
) -> None:
    rules = Rules.of_json({"tolerance": {"/state/*": 1}} if tolerated else {})
    steps = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal steps
        steps += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        found = compare(rules, {"state": owner}, {"state": candidate})
    finally:
        sys.setprofile(before)
    assert {difference.kind for difference in found} >= kinds
    assert bool(found) == bool(kinds)
    assert steps < 500_000


def test_a_candidate_in_a_canary_cannot_reload_its_differences_away() -> None:
    async def test(world: World) -> None:
        world.owner.replace("counter", counter, "mine")
        await world.start("canary:100")
        world.candidate.inner.replace("counter", wrong_total, "one")
        await world.add(13)
        world.candidate.inner.replace("counter", wrong_total, "two")
        await world.add(1)
        status = await world.settled()
        assert (status["evidence"]["build"], status["evidence"]["different"]) == ("two", 1)
        assert (await world.judged())["phase"] == "rolled_back"

    run(test)


@pytest.mark.parametrize("asked", ["python", "elixir"])
def test_a_query_that_names_its_runtime_is_no_evidence(asked: Any) -> None:
    async def test(world: World) -> None:
        await world.start("canary:100", samples=3)
        for n in range(5):
            message = Message(f"q{n}", "counter", "k", "total", {})
            await world.dispatcher.dispatch(message, timeout_ms=2000, runtime=asked)
        evidence = (await world.settled())["evidence"]
        assert (evidence["asked"], evidence["compared"]) == (0, 0)

    run(test)


def test_evidence_that_cannot_be_written_holds_up_no_other_subsystems() -> None:
    async def test(world: World) -> None:
        await world.start()
        await world.add()
        await world.settled()
        route = (await world.journal.moves.standing("counter")).route
        write, damaged = world.journal.moves.note, True

        async def note(subsystem: str, epoch: int, noted: Noted) -> bool:
            if subsystem != "counter" and damaged:
                raise BridgeError("internal", "another type")
            return await write(subsystem, epoch, noted)

        world.journal.moves.note = note  # type: ignore[method-assign]
        world.shadow._tally(replace(route, subsystem="another")).counts["same"] += 1
        world.shadow._tally(route).counts["same"] += 1
        with pytest.raises(BridgeError, match="another type"):
            await world.shadow.flush()
        assert (await world.mover.status("counter"))["evidence"]["compared"] == 2
        damaged = False
        await world.shadow.flush()
        assert world.noted[-1] == "another"  # it was kept

    run(test)


def test_a_busy_move_keeps_no_quiet_one_from_being_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(world: World) -> None:
        quiet = asyncio.Event()

        async def judge(subsystem: str) -> None:
            if subsystem == "counter":
                await asyncio.sleep(0)
                world.mover.noted("counter")
            else:
                quiet.set()

        monkeypatch.setattr(mover, "EVERY_S", 0.01)
        monkeypatch.setattr(world.mover, "judge", judge)
        world.mover._moving |= {"counter", "echo"}
        world.mover.noted("counter")
        task = asyncio.create_task(world.mover.run())
        try:
            async with asyncio.timeout(DEADLINE_S):
                await quiet.wait()
        finally:
            task.cancel()

    run(test)
