"""Each broken promise about a timer is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge.history import Finding
from bridge.history.evidence import FindingKind
from bridge.journal.values import Dead, Timer
from tests.history.world import World, kinds


def timed(world: World) -> World:
    """Set a timer as m9 and let it fire."""
    world.clients[0].open["m9"] = ("later", {"n": 3})
    world.attempt(world.clients[0], "m9")
    world.commit("m9", "later", {"n": 3})
    world.at += 5
    world.fire()
    world.executed.append({name: world.outbox[0].effect[name] for name in ("name", "data", "id")})
    world.outbox.clear()
    assert world.check(settled=False) == []
    return world


def test_a_timer_that_fired_as_it_was_set_is_right(world: World) -> None:
    assert timed(world).entries[-1]["timer"] == "later"


def test_a_timer_that_fires_twice_is_a_phantom(world: World) -> None:
    entry = {**timed(world).entries[-1], "seq": 7}
    world.entries.append(entry)
    text = "timer later fired, though it was not set, was cancelled or had fired"
    assert Finding("phantom", "k", entry["id"], text) in world.check(settled=False)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"id": "made-up"}, "phantom"),
        ({"request": {"n": 4}}, "phantom"),
        ({"operation": "once"}, "phantom"),
        ({"timer": "other"}, "phantom"),
    ],
)
def test_a_timer_that_fired_other_than_it_was_set_is_found(
    world: World, change: dict[str, Any], kind: FindingKind
) -> None:
    timed(world).entries[-1].update(change)
    assert kind in kinds(world.check(settled=False))


def test_a_timer_that_fired_before_it_was_due_is_found(world: World) -> None:
    entry = timed(world).entries[-1]
    due_ms, entry["at_ms"] = entry["at_ms"], entry["at_ms"] - 1
    world.entries[-2]["effects"][0]["at_ms"] = due_ms
    text = f"timer later fired at {due_ms - 1}, before it was due at {due_ms}"
    assert Finding("reordered", "k", entry["id"], text) in world.check(settled=False)


def test_a_timer_neither_fired_waiting_nor_dead_is_lost(world: World) -> None:
    world.clients[0].open["m9"] = ("later", {"n": 3})
    world.attempt(world.clients[0], "m9")
    world.commit("m9", "later", {"n": 3}).update(runtime="python", reason="owner")
    assert world.check() == []
    assert kinds(world.check(replace(world.evidence(), timers=[]))) == {"lost"}
    dead = Dead("any", "tally", "k", "timer", "add", {"id": "later"}, "no", 8, 0)
    assert world.check(replace(world.evidence(), timers=[], dead=[dead])) == []


def test_a_timer_that_waits_other_than_it_was_set_is_found(world: World) -> None:
    world.commit("m9", "later", {"n": 3}).update(runtime="python", reason="owner")
    assert world.timer is not None
    later = replace(world.timer, due_ms=world.timer.due_ms + 1)
    assert "wrong_state" in kinds(world.check(replace(world.evidence(), timers=[later])))


def test_a_timer_that_waits_unset_is_a_phantom(world: World) -> None:
    timer = Timer("tally", "k", "ghost", 1, "add", {"n": 1}, "m1/0")
    assert kinds(world.check(replace(world.evidence(), timers=[timer]))) == {"phantom"}
