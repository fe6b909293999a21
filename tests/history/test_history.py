"""The checker finds nothing in histories of a bridge that keeps its promises."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.history import BadRecord, Evidence, check
from tests.history.world import World


@given(seed=st.integers(0, 2**32), steps=st.integers(0, 150))
def test_a_correct_history_has_no_findings(seed: int, steps: int) -> None:
    assert World(Random(seed)).run(steps).check() == []


def test_the_correct_histories_hold_what_there_is_to_get_wrong() -> None:
    worlds = [World(Random(seed)).run(120) for seed in range(20)]
    entries = [entry for world in worlds for entry in world.entries]
    told = [line for world in worlds for line in world.lines if line["event"] == "told"]
    assert {entry["reason"] for entry in entries} == {"owner", "fallback"}
    assert {entry["runtime"] for entry in entries} == {"python", "typescript", "elixir"}
    assert {line["reply"].get("code") for line in told} > {"overloaded", "outcome_unknown"}
    assert any("timer" in entry for entry in entries)
    assert any(world.timer for world in worlds)
    assert any(world.outbox for world in worlds)
    assert any(line["event"] == "joined" and line["resumed"] for w in worlds for line in w.lines)
    assert any(len(w.executed) > len({body["id"] for body in w.executed}) for w in worlds)
    assert any(line.get("attempt", 0) > 1 for world in worlds for line in world.lines)


def test_a_record_that_is_none_is_refused_with_its_line() -> None:
    evidence = Evidence(subsystem="tally", entries=[], states={}, routes=[])
    good = {"event": "joined", "at": 1, "client": "ann", "topic": "tally:k", "resumed": False}
    with pytest.raises(BadRecord, match="line 2: ValueError: expected sent, told, joined"):
        check([good, {**good, "event": "waved"}], evidence)
    with pytest.raises(BadRecord, match="line 1: KeyError: 'client'"):
        check([{"event": "left", "at": 1}], evidence)


def test_records_about_other_subsystems_are_passed_over() -> None:
    world = World(Random(1)).run(60)
    others = [{**line, "topic": "other:k"} for line in world.lines if "topic" in line]
    world.lines += [line for line in others if line["event"] == "pushed"]
    assert world.check() == []
