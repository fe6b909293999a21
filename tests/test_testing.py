"""What a user's own tests say of a handler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.files import CONTRACTS
from bridge.errors import Refusal
from bridge.testing import Case, scenarios
from tests.migration.two.ledger.ledger import handle, migrate

LEDGER = CONTRACTS / "vectors/scenarios/ledger"
MIGRATED = Path(__file__).parent / "migration/two/ledger"


def ledger(state: Any, operation: str, request: Any, context: Any) -> Any:
    if operation == "total":
        return {"total": state["total"]}, [], None
    if request["n"] > 10:
        raise Refusal("too_much", "too much", limit=10)
    state["total"] += request["n"]  # a copy, as in the gateway
    tag, tags = request["tag"], state["by_tag"]
    if request["n"]:
        tags[tag] = tags.get(tag, 0) + request["n"]
    state["by_tag"] = {name: n for name, n in tags.items() if n}
    return {"total": state["total"]}, [], state


@pytest.mark.parametrize("case", scenarios(LEDGER), ids=str)
def test_a_handler_passes(case: Case) -> None:
    case.check(ledger)
    case.check(ledger)


def test_a_difference_is_named_by_its_pointers() -> None:
    def odd(*call: Any) -> Any:
        reply, effects, state = ledger(*call)
        return reply | {"total": 7}, effects, state

    with pytest.raises(AssertionError, match=r"^/scenarios/0/steps/0 \(add\): /reply/total: "):
        scenarios(LEDGER)[0].check(odd)


def test_what_the_contract_does_not_allow_is_named_by_its_rule() -> None:
    def odd(*call: Any) -> Any:
        return {"total": 1, "more": 1}, [], call[0]

    with pytest.raises(AssertionError, match="/more breaks additionalProperties"):
        scenarios(LEDGER)[0].check(odd)


def test_what_a_handler_raises_is_the_cause() -> None:
    def crashing(*call: Any) -> Any:
        raise KeyError("gone")

    with pytest.raises(AssertionError, match="KeyError: 'gone'") as raised:
        scenarios(LEDGER)[0].check(crashing)
    assert isinstance(raised.value.__cause__, KeyError)


@pytest.mark.parametrize("case", scenarios(MIGRATED), ids=str)
def test_a_state_of_an_older_version_is_migrated_first(case: Case) -> None:
    case.check(handle, migrate)


def test_what_migrate_makes_is_compared_and_it_must_be_there() -> None:
    def odd(*call: Any) -> Any:
        return migrate(*call) | {"minor": 701}

    older = scenarios(MIGRATED)[1]
    at = r"^/scenarios/1 \(migrate\): "
    with pytest.raises(AssertionError, match=at + "/state/minor: expected 700, got 701"):
        older.check(handle, odd)
    with pytest.raises(AssertionError, match=at + "runtime_fault: .*there is no `def migrate"):
        older.check(handle)
