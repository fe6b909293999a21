"""What came, written into the scenarios: as little as says it, and nothing that is disputed."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.canonical import canonical
from bridge.contracts.accepting import accepted, change
from bridge.contracts.check import check_scenarios
from bridge.contracts.implementations import WithMigration
from bridge.contracts.places import replaced
from bridge.contracts.registry import Registry
from bridge.contracts.scenarios import load_scenarios, merged
from bridge.errors import Refusal
from tests.contracts.broken import SOUND, written
from tests.contracts.test_scenarios import Inline, scenario, step
from tests.migration.two.ledger import ledger

TWO = Path(ledger.__file__).parent

VALUES = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["", "a"]),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c"]), below, max_size=3)
    ),
    max_leaves=12,
)


def handle(state: Any, operation: str, request: Any, context: Any) -> Any:
    if operation == "get":
        return {"n": state["n"]}, [], None
    if request["n"] == 5:
        raise Refusal("no", "five", n=5)
    return {"n": request["n"]}, [], {"n": request["n"]}


def wrong(state: Any, operation: str, request: Any, context: Any) -> Any:
    reply, effects, after = handle(state, operation, request, context)
    return ({"n": 9}, effects, {"n": 9}) if request.get("n") == 3 else (reply, effects, after)


def accept(folder: Path, steps: list[Any], *handlers: Any, given: int = 0) -> list[Any]:
    """Write a scenario of these steps, accept what the handlers answer, return its steps."""
    contract = written(folder, SOUND)
    file = contract.with_name("scenarios.json")
    file.write_text(json.dumps({"scenarios": [scenario(*steps, given={"n": given})]}))
    registry = Registry.load(folder)
    runtimes = [Inline({"sound": handler}) for handler in handlers]
    loaded = load_scenarios(file, registry.get("sound"), judged=False)
    text = asyncio.run(accepted(file.read_text(), registry.get("sound"), loaded, runtimes))
    file.write_text(text)
    rows = asyncio.run(check_scenarios(registry, {"python": runtimes[0]}))
    assert [row.problem for row in rows] == [""]
    return [each["expect"] for each in json.loads(text)["scenarios"][0]["steps"]]


def test_what_came_is_written_where_something_else_was_expected(tmp_path: Path) -> None:
    old = {"reply": {"n": 7}, "effects": [], "state": {"n": 7}}
    steps = [
        step("set", {"n": 2}, old),
        step("get", {}, {"reply": {"n": 7}}),
        step("set", {"n": 2}, old),
        step("set", {"n": 5}, old),
        step("set", {"n": 5}, {"refused": "no", "detail": {"n": 4}}),
        {"operation": "set", "request": {"n": 1}, "now_ms": 5},
    ]
    assert accept(tmp_path, steps, handle) == [
        {"reply": {"n": 2}, "effects": [], "state": {"n": 2}},
        {"reply": {"n": 2}},
        {"reply": {"n": 2}, "effects": []},
        {"refused": "no", "message": "five"},
        {"refused": "no", "detail": {"n": 5}},
        {"reply": {"n": 1}, "effects": [], "state": {"n": 1}},
    ]


def test_what_means_the_same_stays_as_it_is_written(tmp_path: Path) -> None:
    steps = [
        step("set", {"n": 2}, {"reply": {"n": 2}, "effects": [], "patch": {"n": 2}}),
        step("set", {"n": 2}, {"reply": {"n": 2}, "effects": [], "state": {"n": 2}}),
        step("set", {"n": 5}, {"refused": "no"}),
    ]
    assert accept(tmp_path, steps, handle) == [each["expect"] for each in steps]


def test_what_runtimes_answer_differently_is_not_accepted(tmp_path: Path) -> None:
    kept = {"reply": {"n": 3}, "effects": [], "state": {"n": 3}}
    steps = [step("set", {"n": 3}, kept), step("set", {"n": 1}, kept)]
    assert accept(tmp_path, steps, handle, wrong) == [
        kept,
        {"reply": {"n": 1}, "effects": [], "state": {"n": 1}},
    ]


@pytest.mark.parametrize("kept", [{"minor": 7, "currency": "EUR"}, {"total": 7}])
def test_what_migrate_makes_is_written_too(tmp_path: Path, kept: Any) -> None:
    shutil.copytree(TWO, tmp_path / "ledger")
    file = tmp_path / "ledger/scenarios.json"
    right = file.read_text()
    file.write_text(replaced(right, "/scenarios/1/migrated", kept))
    contract = Registry.load(tmp_path).get("ledger")
    loaded = load_scenarios(file, contract, judged=False)

    def odd(state: Any, *call: Any) -> Any:
        return {"minor": 1, "currency": "EUR"}

    one, other = (
        Inline({"ledger": WithMigration(ledger.handle, each)}) for each in (ledger.migrate, odd)
    )
    text = asyncio.run(accepted(file.read_text(), contract, loaded, [one]))
    assert json.loads(text) == json.loads(right)
    disputed = asyncio.run(accepted(file.read_text(), contract, loaded, [one, other]))
    assert json.loads(disputed)["scenarios"][1]["migrated"] == kept


@given(VALUES, VALUES)
def test_a_change_leads_to_the_state_that_came(before: Any, after: Any) -> None:
    said = change(before, after)
    came = merged(before, said["patch"]) if "patch" in said else said.get("state", before)
    assert canonical(came) == canonical(after)
