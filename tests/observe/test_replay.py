"""Recorded events through the real triage, beside what the daemon did with them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.observe.replay import Comparison, Group, NotReplayable, replay
from bridge.runtimes.python import PythonRuntime
from bridge.subsystems.triage import handle
from tests.running import SUBSYSTEMS

HOUR_MS = 3_600_000
START_MS = 1795380404972


def event(id: str, type: str = "test", **changes: Any) -> dict[str, Any]:
    whole = {"id": id, "type": type, "source": "cli", "payload": {}, "ts": START_MS}
    return whole | changes


class Script:
    """A recording written line by line; a second passes before each event."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._n = 0
        self._now_ms = START_MS
        path.write_text("")
        self.line(recording=1, at_ms=START_MS)

    def line(self, **line: Any) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")

    def event(
        self, value: dict[str, Any], fate: str, session: str = "gateway", after_ms: int = 1000
    ) -> None:
        self._n += 1
        self._now_ms += after_ms
        self.line(n=self._n, at_ms=self._now_ms, session=session, event=value)
        if fate:
            self.line(n=self._n, at_ms=self._now_ms, fate=fate)

    def mode(self, mode: str) -> None:
        self.line(at_ms=self._now_ms, mode=mode)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path / "recording.ndjson")


def compared(script: Script) -> Comparison:
    contract = Registry.load(BUILT_IN).get("triage")
    runtime = PythonRuntime({"triage": handle}, budget_ms=250)
    return asyncio.run(replay(script.path, contract, runtime))


def groups(found: Comparison) -> list[tuple[str, str, str, int]]:
    return [
        (group.kind, group.daemon, group.ours, group.count)
        for kind in ("same", "different", "dropped", "not compared")
        for group in found.of(kind)
    ]


def test_the_same_decisions_are_the_same(script: Script) -> None:
    script.event(event("a"), "prompt")
    script.event(event("b", "discovery.captured"), "batched")
    script.event(event("c", "progress"), "suppressed")
    script.event(event("a"), "duplicate")
    script.event(event("d", payload={"immediateTelegram": True}), "telegram")
    script.event(event("e"), "unstored", session="main")
    script.event(event("s", "gateway/sleep"), "mode")
    script.event(event("f"), "batched")
    script.event(event("h", "cron.heartbeat"), "suppressed")
    script.event(event("w", "gateway/wake"), "mode")
    found = compared(script)
    assert {group.kind for group in found.groups.values()} == {"same"}
    assert (found.events, found.count("same")) == (10, 10)


def test_what_differs_is_grouped_with_types_and_an_example(script: Script) -> None:
    script.event(event("a", "t1"), "suppressed")
    script.event(event("b", "t2"), "suppressed")
    script.event(event("c", "t2"), "suppressed")
    (group,) = compared(script).of("different")
    assert group == Group("different", "suppressed", "immediate", 3, Counter(t1=1, t2=2), "a")


def test_of_what_the_daemon_lost_it_is_said_what_ours_decides(script: Script) -> None:
    script.event(event("a"), "lost")
    script.event(event("b", "progress"), "lost")
    script.event(event("c", payload=None), "malformed")
    assert groups(compared(script)) == [
        ("dropped", "lost", "immediate", 1),
        ("dropped", "lost", "suppressed", 1),
        ("dropped", "malformed", "refused", 1),
    ]


def test_what_was_lost_changes_nothing_for_what_follows(script: Script) -> None:
    script.event(event("s", "gateway/sleep"), "lost")
    script.event(event("a"), "lost")
    script.event(event("a"), "prompt")
    assert groups(compared(script)) == [
        ("same", "prompt", "immediate", 1),
        ("dropped", "lost", "sleep", 1),
        ("dropped", "lost", "immediate", 1),
    ]


def test_what_cannot_be_told_is_counted_apart(script: Script) -> None:
    for n, fate in enumerate(("inconclusive", "waiting", "session", "bridge", "taken", "")):
        script.event(event(f"e{n}"), fate)
    found = compared(script)
    assert found.count("not compared") == 6
    assert found.groups["inconclusive", "immediate"].count == 2  # one without a fate


def test_an_event_the_daemon_takes_and_the_contract_refuses_differs(script: Script) -> None:
    script.event(event("a", ts=1795380404), "prompt")
    assert groups(compared(script)) == [("different", "prompt", "refused", 1)]


def test_each_session_has_its_own_past_and_main_is_the_daemons(script: Script) -> None:
    script.event(event("a"), "prompt", session="main")
    script.event(event("a"), "session", session="pid-7")
    script.event(event("a"), "duplicate")
    assert groups(compared(script)) == [
        ("same", "prompt", "immediate", 1),
        ("same", "duplicate", "duplicate", 1),
        ("not compared", "session", "immediate", 1),
    ]


def test_the_recorded_times_count(script: Script) -> None:
    script.event(event("a"), "prompt")
    script.event(event("a"), "duplicate", after_ms=HOUR_MS // 2)
    script.event(event("a"), "prompt", after_ms=1)
    assert {group.kind for group in compared(script).groups.values()} == {"same"}


def test_a_mode_that_was_set_by_hand_holds(script: Script) -> None:
    script.mode("sleep")
    script.event(event("a"), "batched")
    script.mode("active")
    script.event(event("b"), "prompt")
    assert {group.kind for group in compared(script).groups.values()} == {"same"}


def test_timers_are_due_at_the_recorded_times(script: Script) -> None:
    asked: list[tuple[str, int]] = []

    def watched(state: Any, operation: str, request: Any, context: Any) -> Any:
        asked.append((operation, context.now_ms))
        return handle(state, operation, request, context)

    script.event(event("a", "discovery.captured"), "batched")
    script.event(event("b"), "prompt", after_ms=2 * HOUR_MS)
    contract = Registry.load(BUILT_IN).get("triage")
    runtime = PythonRuntime({"triage": watched}, budget_ms=250)
    asyncio.run(replay(script.path, contract, runtime))
    first_ms = START_MS + 1000
    assert asked == [
        ("receive", first_ms),
        ("flush", first_ms + HOUR_MS),
        ("receive", first_ms + 2 * HOUR_MS),
    ]


def test_a_handler_that_crashes_decides_otherwise(script: Script) -> None:
    def broken(state: Any, operation: str, request: Any, context: Any) -> Any:
        raise ValueError

    script.event(event("a"), "prompt")
    contract = Registry.load(BUILT_IN).get("triage")
    runtime = PythonRuntime({"triage": broken}, budget_ms=250)
    found = asyncio.run(replay(script.path, contract, runtime))
    assert groups(found) == [("different", "prompt", "fault: crashed", 1)]


def test_a_subsystem_that_receives_no_events_is_told_what_is_expected(script: Script) -> None:
    contract = Registry.load(SUBSYSTEMS).get("counter")
    runtime = PythonRuntime({}, budget_ms=250)
    with pytest.raises(NotReplayable, match="counter has no command `receive`"):
        asyncio.run(replay(script.path, contract, runtime))
