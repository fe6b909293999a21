from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from bridge.contracts.files import ROOT
from bridge.contracts.registry import Registry
from bridge.errors import Refusal, RuntimeFault
from bridge.message import Outcome, context_for
from tests.subsystems.counter.counter import handle

CONTRACT = Registry.load(ROOT / "tests" / "subsystems").get("counter")
CONTEXT = context_for("m", 1000, 6000, "UTC", "key")


def answer(state: Any, name: str, request: Any) -> Outcome:
    operation = CONTRACT.operation(name, internal=True)
    before = deepcopy(state)
    outcome = Outcome(*handle(state, name, operation.check_request(request), CONTEXT))
    assert state == before
    return CONTRACT.check_outcome(operation, outcome, "python")


def test_the_oldest_tag_gives_way_to_the_hundred_and_first() -> None:
    state = CONTRACT.initial_state
    for n in range(101):
        state = answer(state, "add", {"tag": f"t{n}"}).state
    assert state["total"] == 101
    assert state["log"] == [f"t{n}" for n in range(1, 101)]


def test_refusing_is_a_declared_refusal() -> None:
    with pytest.raises(Refusal) as caught:
        answer(CONTRACT.initial_state, "fail", {"how": "refuse"})
    CONTRACT.operation("fail").check_refusal(caught.value, "python")


@pytest.mark.parametrize("how", ["bad_reply", "bad_effect", "bad_state"])
def test_bad_answers_are_off_the_contract(how: str) -> None:
    with pytest.raises(RuntimeFault) as caught:
        answer(CONTRACT.initial_state, "fail", {"how": how})
    assert caught.value.kind == "off_contract"


def test_crashing_is_no_refusal() -> None:
    with pytest.raises(RuntimeError):
        answer(CONTRACT.initial_state, "fail", {"how": "crash"})
