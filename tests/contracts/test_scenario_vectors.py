"""Scenarios as every language reads and compares them: contracts/vectors/scenarios."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.contracts.check import check_scenarios
from bridge.contracts.files import CONTRACTS, read_json
from bridge.contracts.registry import Registry
from bridge.contracts.scenarios import load_scenarios, merged
from bridge.errors import Refusal
from bridge.message import Invocation, Judge, Outcome

FOLDER = CONTRACTS / "vectors" / "scenarios"
REGISTRY = Registry.load(FOLDER)
RUNS = read_json(FOLDER / "runs.json")["cases"]


class Told:
    """Answers what a vector has, one after the other; nobody judges it."""

    def __init__(self, answers: list[Any]) -> None:
        self._answers = list(answers)

    def available(self, subsystem: str) -> bool:
        return True

    async def handle(self, invocation: Invocation, judge: Judge) -> Outcome:
        answer = self._answers.pop(0)
        if "refused" in answer:
            raise Refusal(answer["refused"], answer["message"], **answer["detail"])
        return Outcome(answer["reply"], answer.get("effects", []), answer.get("state"))


def test_scenarios_are_worked_out_as_in_every_language() -> None:
    scenarios = load_scenarios(FOLDER / "ledger/scenarios.json", REGISTRY.get("ledger"))
    steps = [
        {
            "pointer": step.pointer,
            "operation": step.operation.name,
            "kind": step.operation.kind,
            "request": step.request,
            "state": step.state,
            "context": step.context.as_json(),
        }
        for step in scenarios[0].steps
    ]
    [expected] = read_json(FOLDER / "resolved.json")["scenarios"]
    assert steps == [
        {name: value for name, value in step.items() if name != "expect"}
        for step in expected["steps"]
    ]


@pytest.mark.parametrize("case", RUNS, ids=[case["name"] for case in RUNS])
def test_compared_as_in_every_language(case: Any) -> None:
    [row] = asyncio.run(check_scenarios(REGISTRY, {"python": Told(case["answers"])}))
    assert row.problem == case["problem"]


def test_merge_patches_are_applied_as_rfc_7396_has_it() -> None:
    for case in read_json(FOLDER / "merged.json")["cases"]:
        assert merged(case["target"], case["patch"]) == case["result"]
