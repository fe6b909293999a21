from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.check import Row, Runs, check_contracts, check_scenarios, difference
from bridge.contracts.files import BUILT_IN, ROOT
from bridge.contracts.implementations import Handler, load_all, python_handlers
from bridge.contracts.registry import Registry
from bridge.contracts.scenarios import load_scenarios, slug
from bridge.errors import ContractBroken
from bridge.message import Context, Invocation, Judge, Outcome
from bridge.runtimes.python import outcome_of
from tests.contracts.broken import SOUND, written

COUNTER = ROOT / "tests" / "subsystems"


class Inline:
    """Calls handlers where they are: a runtime without budget or process."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self.seen: list[Invocation] = []

    def available(self, subsystem: str) -> bool:
        return subsystem in self._handlers

    async def handle(self, invocation: Invocation, judge: Judge) -> Outcome:
        self.seen.append(invocation)
        return judge(outcome_of(self._handlers[invocation.subsystem], invocation))


def sound(folder: Path, scenarios: Any) -> Registry:
    file = written(folder, SOUND)
    file.with_name("scenarios.json").write_text(json.dumps({"scenarios": scenarios}))
    return Registry.load(folder)


def step(operation: str, request: Any, expect: Any, **more: Any) -> Any:
    return {"operation": operation, "request": request, "now_ms": 5, "expect": expect, **more}


def scenario(*steps: Any, name: str = "One", key: str = "k", **more: Any) -> Any:
    return {"name": name, "key": key, "steps": list(steps), **more}


def checked(registry: Registry, runtimes: Mapping[str, Runs]) -> list[Row]:
    return asyncio.run(check_scenarios(registry, runtimes))


SET = {"reply": {"n": 1}, "effects": [], "state": {"n": 1}}
GET = {"reply": {"n": 1}}


def test_the_python_implementations_pass_every_scenario() -> None:
    file = COUNTER / "implementations.json"
    handlers = python_handlers(load_all(file), file.parent)
    registry = Registry.load(BUILT_IN, COUNTER)
    rows = checked(registry, {"python": Inline(handlers)})
    assert [str(row) for row in rows if not row.ok] == []
    assert {row.subsystem for row in rows} == set(registry.names())


def test_state_goes_from_step_to_step_and_ids_come_from_the_name(tmp_path: Path) -> None:
    registry = sound(
        tmp_path,
        [
            scenario(
                step("set", {}, SET),
                step("get", {}, GET, message_id="my:own"),
                step("set", {"n": 3}, {"refused": "no"}),
                step("get", {}, GET),
                name="Größe: a/b  (2)!",
            )
        ],
    )

    def answer(state: Any, operation: str, request: Any, context: Context) -> Any:
        return {"n": 1}, [], {"n": 1}

    runtime = Inline({"sound": answer})
    rows = checked(registry, {"python": runtime})
    assert [row.problem for row in rows] == [
        "/scenarios/0/steps/2 (set): expected the refusal no, got an outcome"
    ]
    assert [seen.context.message_id for seen in runtime.seen] == [
        "gr-e-a-b-2/0",
        "my:own",
        "gr-e-a-b-2/2",
    ]
    assert [seen.state for seen in runtime.seen] == [{"n": 0}, {"n": 1}, {"n": 1}]
    assert runtime.seen[0].request == {"n": 7, "meta": {}}
    first = runtime.seen[0].context
    assert (first.key, first.now_ms, first.deadline_ms) == ("k", 5, 5005)
    assert first.local == {"date": "1970-01-01", "time": "00:00:00", "zone": "UTC"}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (({"n": 2}, [], {"n": 1}), "/reply/n: expected 1, got 2"),
        (({"n": 1}, [], {"n": 2}), "/state/n: expected 1, got 2"),
        (({"n": 1}, [], {"n": 1, "text": ""}), "/state/text should not be there"),
        (
            ({"n": 1}, [{"effect": "cancel", "id": "t"}], {"n": 1}),
            "/effects: expected 0 items, got 1",
        ),
        (
            ({"n": -1}, [], {"n": 1}),
            "runtime_fault: elixir: sound@1 set reply: /n breaks minimum: "
            "expected 0, got integer",
        ),
    ],
)
def test_a_row_says_where_a_runtime_differs(tmp_path: Path, answer: Any, problem: str) -> None:
    registry = sound(tmp_path, [scenario(step("set", {}, SET))])
    runtime = Inline({"sound": lambda state, operation, request, context: answer})
    [row] = checked(registry, {"elixir": runtime})
    assert row.problem == f"/scenarios/0/steps/0 (set): {problem}"
    assert (row.subsystem, row.what, row.runtime, row.ok) == ("sound", "One", "elixir", False)


def test_a_given_state_is_what_the_first_step_meets(tmp_path: Path) -> None:
    registry = sound(
        tmp_path,
        [
            scenario(step("get", {}, {"reply": {"n": 9}}), given={"n": 9}),
            scenario(step("get", {}, {"reply": {"n": 0}}), name="Two"),
        ],
    )
    runtime = Inline({"sound": lambda state, operation, request, context: (state, [], None)})
    assert [row.problem for row in checked(registry, {"python": runtime})] == ["", ""]
    assert [seen.state for seen in runtime.seen] == [{"n": 9}, {"n": 0}]


def test_a_runtime_that_has_no_instance_is_left_out(tmp_path: Path) -> None:
    registry = sound(tmp_path, [scenario(step("set", {}, SET))])
    assert checked(registry, {"elixir": Inline({})}) == []


@pytest.mark.parametrize(
    ("scenarios", "pointer", "rule"),
    [
        ([], "/scenarios", "minItems"),
        (
            [scenario(step("set", {}, SET)), scenario(step("set", {}, SET), name="one!")],
            "/scenarios/1/name",
            "unique",
        ),
        ([scenario(step("set", {}, SET), name="日本")], "/scenarios/0/name", "unique"),
        ([scenario(step("set", {}, SET), key="a\n")], "/scenarios/0/key", "key"),
        ([scenario(step("set", {}, SET), given={"n": -1})], "/scenarios/0/given/n", "minimum"),
        ([scenario(step("set", {}, SET), given=None)], "/scenarios/0/given", "type"),
        ([scenario(step("sett", {}, SET))], "/scenarios/0/steps/0", "unknown_operation"),
        ([scenario(step("set", {"n": "1"}, SET))], "/scenarios/0/steps/0", "invalid_request"),
        ([scenario(step("set", {}, GET))], "/scenarios/0/steps/0", "invalid_request"),
        ([scenario(step("get", {}, SET))], "/scenarios/0/steps/0", "invalid_request"),
        (
            [scenario(step("set", {}, {**SET, "state": {}}))],
            "/scenarios/0/steps/0",
            "runtime_fault",
        ),
        (
            [scenario(step("set", {}, {"refused": "never"}))],
            "/scenarios/0/steps/0",
            "runtime_fault",
        ),
        ([scenario(step("set", {}, {}))], "/scenarios/0/steps/0/expect", "oneOf"),
        (
            [scenario(step("set", {}, SET, message_id="a b"))],
            "/scenarios/0/steps/0/message_id",
            "pattern",
        ),
    ],
)
def test_a_scenario_off_its_contract_is_refused(
    tmp_path: Path, scenarios: Any, pointer: str, rule: str
) -> None:
    registry = sound(tmp_path, scenarios)
    file = registry.file("sound").with_name("scenarios.json")
    with pytest.raises(ContractBroken) as caught:
        load_scenarios(file, registry.get("sound"))
    assert (caught.value.file, caught.value.pointer) == (str(file), pointer)
    assert caught.value.rule == rule


def test_checking_the_contracts_gives_a_row_for_each_whether_sound_or_broken(
    tmp_path: Path,
) -> None:
    sound(tmp_path / "good", [scenario(step("set", {}, SET))])
    written(tmp_path / "bad", "{")
    rows = check_contracts([tmp_path / "good", tmp_path / "bad"])
    assert [(row.subsystem, row.ok) for row in rows] == [("sound", True), ("sound", False)]
    assert "subsystem.json: (whole file): json: " in rows[1].problem


@pytest.mark.parametrize(
    ("name", "expected"),
    [("One", "one"), ("A  b_c/d!", "a-b-c-d"), ("--x--", "x"), ("Ünï 7", "n-7"), ("日本", "")],
)
def test_the_slug_of_a_name(name: str, expected: str) -> None:
    assert slug(name) == expected


@pytest.mark.parametrize(
    ("expected", "actual", "text"),
    [
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, ""),
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": 0}]}, "/a/1/b: expected null, got 0"),
        ({"a": 1}, {}, "/a is missing"),
        ({"a": 1, "b": "x"}, {"b": "y"}, '/b: expected "x", got "y"'),
        ({}, {"a/b": 1}, "/a~1b should not be there"),
        (True, 1, ": expected true, got 1"),
        ({}, [], ": expected {}, got []"),
    ],
)
def test_a_difference_is_named_by_its_pointer(expected: Any, actual: Any, text: str) -> None:
    assert difference(expected, actual) == text
