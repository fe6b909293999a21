"""What a contract says of comparison, as it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.registry import Contract, Registry
from bridge.errors import ContractBroken
from bridge.moves.comparison import compare
from tests.running import SUBSYSTEMS


def load(folder: Path, rules: Any) -> Contract:
    document = json.loads((SUBSYSTEMS / "counter" / "subsystem.json").read_text())
    (folder / "counter").mkdir()
    (folder / "counter" / "subsystem.json").write_text(json.dumps({**document, "compare": rules}))
    return Registry.load(folder).get("counter")


def test_a_contracts_rules_are_those_it_is_compared_by(tmp_path: Path) -> None:
    rules = load(
        tmp_path,
        {
            "volatile": ["/reply/at_ms"],
            "unordered": ["/state/log"],
            "tolerance": {"/reply/total": 1},
            "sensitive": ["/state/pad"],
        },
    ).compare
    owner = {"reply": {"at_ms": 1, "total": 5}, "state": {"log": ["a", "b"], "pad": "secret"}}
    other = {"reply": {"total": 6}, "state": {"log": ["b", "a"], "pad": "other"}}
    [difference] = compare(rules, owner, other)
    assert (difference.pointer, difference.kind) == ("/state/pad", "value")
    assert "secret" not in str(difference)


def test_what_no_schema_declares_is_a_key_of_a_map(tmp_path: Path) -> None:
    rules = load(tmp_path, {}).compare
    [difference] = compare(rules, {"state": {"by": {"x": 1}}}, {"state": {"by": {"x": 2}}})
    assert difference.pointer == "/state/*/*"
    assert {"total", "log", "payload", "effect", "at_ms"} <= (rules.names or set())


@pytest.mark.parametrize(
    "rules",
    [
        *({"volatile": ["reply"]}, {"volatile": ["/request/a"]}, {"ignore": []}),
        *(
            {"tolerance": {"/reply/a": -1}},
            {"tolerance": {"reply": 1}},
            {"sensitive": ["/state/~2"]},
        ),
    ],
)
def test_rules_that_are_none_are_refused(tmp_path: Path, rules: Any) -> None:
    with pytest.raises(ContractBroken) as refused:
        load(tmp_path, rules)
    assert refused.value.pointer.startswith("/compare")
