"""A call is told once, in its time, what came of it; else it is found."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.history.evidence import FindingKind
from bridge.message import derived_id
from tests.history.world import World, kinds

TOLD = derived_id("m9/0", "timer/later")


def asked(world: World) -> World:
    """Make a call of 100 ms as m9."""
    world.clients[0].open["m9"] = ("ask", {"n": 100})
    world.attempt(world.clients[0], "m9")
    world.commit("m9", "ask", {"n": 100})
    return world


def test_a_call_is_told_its_reply_or_that_its_time_is_over(world: World) -> None:
    asked(world)
    assert world.check(settled=False) == []  # it is under way
    world.commit(TOLD, "told", {"id": "later", "reply": 7}, timer="later")
    assert world.check(settled=False) == []


def test_the_timeout_is_told_when_the_time_is_over(world: World) -> None:
    asked(world).at += 100
    world.fire()
    assert world.entries[-1]["request"]["error"]["code"] == "timeout"
    assert world.check(settled=False) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"id": "made-up"}, "phantom"),
        ({"request": {"id": "other", "reply": 7}}, "phantom"),
        ({"operation": "ask"}, "phantom"),
        ({"timer": "other"}, "phantom"),
    ],
)
def test_what_is_told_otherwise_is_found(
    world: World, change: dict[str, Any], kind: FindingKind
) -> None:
    asked(world).commit(TOLD, "told", {"id": "later", "reply": 7}, timer="later")
    world.entries[-1].update(change)
    assert kind in kinds(world.check(settled=False))


def test_a_call_of_which_nothing_came_is_lost(world: World) -> None:
    asked(world).timer = None
    assert "lost" in kinds(world.check(settled=False))


def test_a_timeout_that_is_told_too_early_is_found(world: World) -> None:
    asked(world).at += 100
    world.fire()
    world.entries[-1]["at_ms"] = world.entries[-2]["at_ms"] + 99
    assert "reordered" in kinds(world.check(settled=False))
