"""The table of a move, and the picture of it in the docs."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from bridge.errors import BridgeError
from bridge.moves.machine import (
    MOVING,
    TABLE,
    Change,
    Event,
    Move,
    Phase,
    Step,
    diagram,
    start,
    step,
)
from bridge.moves.plan import parse_plan

ROOT = Path(__file__).parents[2]


def change(epoch: int = 2) -> Change:
    return Change(epoch, 1000 + epoch, "ann", "to see")


def begun(plan: str = "shadow:10,canary:5,100", before: Move | None = None) -> Move:
    return start(
        before,
        *("triage", "python", "elixir", parse_plan(plan), {}),
        contract="c",
        auto=False,
        change=change(),
    )


def test_a_plan_is_walked_to_the_new_owner_and_back() -> None:
    move = begun()
    assert (str(move), move.share, move.owner) == ("shadow", 0, "python")
    move = step(move, "promote", change(3))
    assert (str(move), move.share, move.owner) == ("canary 5 %", 5, "python")
    move = step(move, "promote", change(4))
    assert (str(move), move.share, move.step_ms) == ("canary 100 %", 100, 1004)
    move = step(move, "promote", change(5))
    assert (move.phase, move.share, move.owner, move.epoch) == ("moved", 0, "elixir", 5)
    move = step(move, "rollback", change(6))
    assert (move.phase, move.owner) == ("rolled_back", "python")
    assert begun(before=move).phase == "shadow"


def test_hold_keeps_the_step_and_refuses_a_promotion_until_it_is_resumed() -> None:
    held = step(begun(), "hold", change(3))
    assert (held.phase, held.held, held.step_ms) == ("shadow", True, 1002)
    for event in ("promote", "hold"):
        with pytest.raises(BridgeError):
            step(held, event, change(4))
    assert step(held, "resume", change(4)).held is False
    assert step(held, "rollback", change(4)).held is False


def test_a_promotion_may_pass_over_steps() -> None:
    move = step(begun(), "promote", change(3), passing=1)
    assert (move.phase, move.share) == ("canary", 100)
    assert step(begun(), "promote", change(3), passing=2).phase == "moved"


@pytest.mark.parametrize("phase", get_args(Phase))
@pytest.mark.parametrize("event", get_args(Event))
def test_what_the_table_does_not_have_is_refused_with_what_it_has(
    phase: Phase, event: Event
) -> None:
    move = Move.of_json({**begun().as_json(), "phase": phase})
    if event == "start":
        if phase in MOVING:
            with pytest.raises(BridgeError):
                begun(before=move)
        return
    if (phase, event) in TABLE:
        if event != "resume":
            assert step(move, event, change(9)).phase in TABLE[phase, event]
        return
    with pytest.raises(BridgeError) as refused:
        step(move, event, change(9))
    assert event not in refused.value.detail["expected"]


def test_a_move_is_stored_and_read_back() -> None:
    assert Move.of_json(begun().as_json()) == begun()


def test_the_docs_have_the_table_as_a_picture() -> None:
    assert diagram() in (ROOT / "docs/moves.md").read_text(encoding="utf-8")


def test_plans() -> None:
    assert parse_plan("shadow:500,canary:5,25", 30) == (
        Step("shadow", 0, 500),
        Step("canary", 5, 30),
        Step("canary", 25, 30),
    )
    assert parse_plan("canary:100", 7) == (Step("canary", 100, 7),)
    assert parse_plan("shadow") == (Step("shadow", 0, 500),)


@pytest.mark.parametrize(
    "text",
    [
        *("", "canary", "5,10", "shadow:0", "canary:0", "canary:101", "canary:25,5"),
        *(
            "canary:5,5",
            "canary:5,shadow:10",
            "shadow:1,shadow:2",
            "shadow:-1",
            "fast:5",
            "shadow,,",
        ),
    ],
)
def test_plans_that_are_none(text: str) -> None:
    with pytest.raises(BridgeError, match="plan"):
        parse_plan(text)
