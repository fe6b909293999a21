from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from bridge.bounds import MAX_DEPTH
from bridge.contracts.registry import Contract, Registry
from bridge.errors import (
    BridgeError,
    ContractBroken,
    InvalidRequest,
    Refusal,
    RuntimeFault,
)
from bridge.message import Outcome
from tests.contracts.broken import NOTHING, SOUND, with_change, written


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    written(tmp_path, SOUND)
    return Registry.load(tmp_path).get("sound")


# -- keys and operations -------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a", "a:b", "é😀", "k" * 200, "😀" * 200, "\x80", " "])
def test_keys_are_taken(contract: Contract, key: str) -> None:
    contract.check_key(key)


@pytest.mark.parametrize("key", ["", "k" * 201, "a\x00", "a\nb", "\x1f", "\x7f"])
def test_what_is_no_key_is_an_unknown_topic(contract: Contract, key: str) -> None:
    with pytest.raises(BridgeError) as caught:
        contract.check_key(key)
    assert caught.value.code == "unknown_topic"


def test_an_unknown_operation_is_refused_with_those_clients_have(contract: Contract) -> None:
    with pytest.raises(BridgeError) as caught:
        contract.operation("sett")
    assert caught.value.code == "unknown_operation"
    assert caught.value.detail == {"expected": ["set", "get"], "actual": "sett"}


def test_an_internal_operation_is_unknown_to_clients(contract: Contract) -> None:
    assert contract.operation("timed", internal=True).name == "timed"
    with pytest.raises(BridgeError) as caught:
        contract.operation("timed")
    assert caught.value.code == "unknown_operation"


# -- requests ------------------------------------------------------------------------------


def test_defaults_are_filled_in_and_given_members_stay(contract: Contract) -> None:
    operation = contract.operation("set")
    assert operation.check_request({}) == {"n": 7, "meta": {}}
    assert operation.check_request({"n": 0, "token": "t"}) == {"n": 0, "token": "t", "meta": {}}


def test_a_filled_in_default_is_nobody_elses(contract: Contract) -> None:
    operation = contract.operation("set")
    operation.check_request({})["meta"]["changed"] = True
    assert operation.check_request({}) == {"n": 7, "meta": {}}


def test_a_request_is_normalised_and_the_given_one_stays(contract: Contract) -> None:
    given = {"n": 5.0, "meta": {"a": -0.0}}
    checked = contract.operation("set").check_request(given)
    assert repr(checked) == "{'n': 5, 'meta': {'a': 0}}"
    assert repr(given) == "{'n': 5.0, 'meta': {'a': -0.0}}"


@pytest.mark.parametrize(
    ("request_", "pointer", "rule", "expected", "actual"),
    [
        ([], "", "type", "object", "array"),
        (None, "", "type", "object", "null"),
        ({"n": "7"}, "/n", "type", "integer", "string"),
        ({"n": True}, "/n", "type", "integer", "boolean"),
        ({"n": 1.5}, "/n", "type", "integer", "number"),
        ({"n": 101}, "/n", "maximum", 100, "integer"),
        ({"token": "12345678901"}, "/token", "maxLength", 10, "string"),
        ({"a/b~c": 1}, "/a~1b~0c", "additionalProperties", "no member of this name", "integer"),
    ],
)
def test_a_request_off_its_contract_is_refused_by_pointer_rule_and_types(
    contract: Contract, request_: Any, pointer: str, rule: str, expected: Any, actual: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        contract.operation("set").check_request(request_)
    assert caught.value.code == "invalid_request"
    assert caught.value.detail == {
        "contract": "sound@1 set request",
        "pointer": pointer,
        "rule": rule,
        "expected": expected,
        "actual": actual,
    }


def test_a_violation_never_repeats_the_value(contract: Contract) -> None:
    with pytest.raises(InvalidRequest) as caught:
        contract.operation("set").check_request({"token": "a secret too long"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "code"),
    [({"n": 2**53}, "invalid_number"), ({"token": "\ud800"}, "invalid_text")],
)
def test_what_no_language_shares_is_refused_before_the_schema(
    contract: Contract, request_: Any, code: str
) -> None:
    with pytest.raises(BridgeError) as caught:
        contract.operation("set").check_request(request_)
    assert caught.value.code == code


def test_the_idempotency_value_is_what_the_pointer_names(contract: Contract) -> None:
    operation = contract.operation("set")
    assert operation.idempotency_value({"n": 1, "token": "t"}) == "t"
    assert operation.idempotency_value({"n": 1}) is None
    assert contract.operation("get").idempotency_value({}) is None


# -- outcomes ------------------------------------------------------------------------------

EMIT = {"effect": "emit", "type": "was.set", "payload": {"n": 1}}
SCHEDULE = {"effect": "schedule", "id": "t", "at_ms": 5, "operation": "timed", "request": {}}
INNGEST = {"effect": "inngest", "name": "a/b", "data": {}, "id": "i", "unordered": True}


def fault(contract: Contract, name: str, outcome: Outcome) -> RuntimeFault:
    operation = contract.operation(name, internal=True)
    with pytest.raises(RuntimeFault) as caught:
        contract.check_outcome(operation, outcome, "elixir")
    assert caught.value.runtime == "elixir"
    return caught.value


def test_a_good_outcome_comes_back_normalised_with_effects_in_order(contract: Contract) -> None:
    effects: list[dict[str, Any]] = [
        EMIT,
        SCHEDULE,
        {"effect": "cancel", "id": "t"},
        INNGEST,
    ]
    given = Outcome({"n": 1.0}, deepcopy(effects), {"n": 2.0})
    checked = contract.check_outcome(contract.operation("set"), given, "python")
    assert repr(checked) == repr(Outcome({"n": 1}, effects, {"n": 2}))


def test_of_a_query_only_the_reply_comes_back(contract: Contract) -> None:
    outcome = Outcome({"n": 1}, [], {"whatever": True})
    checked = contract.check_outcome(contract.operation("get"), outcome, "python")
    assert checked == Outcome({"n": 1}, [], None)


@pytest.mark.parametrize(
    ("name", "outcome", "where", "pointer", "rule", "actual"),
    [
        ("set", Outcome(None, [], {"n": 1}), "set reply", "", "type", "null"),
        ("get", Outcome({"n": -1}, []), "get reply", "/n", "minimum", "integer"),
        ("get", Outcome({"n": 1}, [EMIT]), "get effects", "", "maxItems", "1"),
        ("set", Outcome({"n": 1}, [], None), "state", "", "type", "null"),
        ("set", Outcome({"n": 1}, [], {"n": "x"}), "state", "/n", "type", "string"),
        (
            "set",
            Outcome({"n": 1}, [], {"n": 1, "text": "é" * 50}),
            "state",
            "",
            "max_state_bytes",
            "117 bytes",
        ),
    ],
)
def test_an_outcome_off_the_contract_is_the_runtimes_fault(
    contract: Contract,
    name: str,
    outcome: Outcome,
    where: str,
    pointer: str,
    rule: str,
    actual: str,
) -> None:
    found = fault(contract, name, outcome)
    assert (found.code, found.kind) == ("runtime_fault", "off_contract")
    assert found.detail["contract"] == f"sound@1 {where}"
    assert (found.detail["pointer"], found.detail["rule"]) == (pointer, rule)
    assert found.detail["actual"] == actual


@pytest.mark.parametrize(
    ("effect", "pointer", "rule"),
    [
        ("emit", "/0", "type"),
        ({}, "/0/effect", "enum"),
        ({"effect": ["emit"]}, "/0/effect", "enum"),
        ({"effect": "fax"}, "/0/effect", "enum"),
        ({"effect": "system_event"}, "/0/effect", "enum"),
        ({**EMIT, "more": 1}, "/0/more", "additionalProperties"),
        ({**EMIT, "unordered": True}, "/0/unordered", "additionalProperties"),
        ({"effect": "emit", "type": "was.set"}, "/0", "required"),
        ({**EMIT, "type": "was.unset"}, "/0/type", "enum"),
        ({**EMIT, "payload": {"n": "1"}}, "/0/payload/n", "type"),
        ({**SCHEDULE, "at_ms": -1}, "/0/at_ms", "minimum"),
        ({**SCHEDULE, "at_ms": 1.5}, "/0/at_ms", "type"),
        ({**SCHEDULE, "operation": "nothing"}, "/0/operation", "enum"),
        ({**SCHEDULE, "operation": "get"}, "/0/operation", "enum"),
        ({**SCHEDULE, "request": {"n": 101}}, "/0/request/n", "maximum"),
        ({**INNGEST, "data": []}, "/0/data", "type"),
        ({**INNGEST, "id": ""}, "/0/id", "minLength"),
    ],
)
def test_an_effect_off_the_closed_list_is_the_runtimes_fault(
    contract: Contract, effect: Any, pointer: str, rule: str
) -> None:
    found = fault(contract, "set", Outcome({"n": 1}, [effect], {"n": 1}))
    assert found.kind == "off_contract"
    assert (found.detail["pointer"], found.detail["rule"]) == (pointer, rule)


def test_effects_an_operation_does_not_declare_are_refused(contract: Contract) -> None:
    found = fault(contract, "timed", Outcome(None, [EMIT], {"n": 1}))
    assert found.detail["expected"] == []


def test_a_thousand_effects_are_the_most(contract: Contract) -> None:
    operation = contract.operation("set")
    contract.check_outcome(operation, Outcome({"n": 1}, [EMIT] * 1000, {"n": 1}), "python")
    found = fault(contract, "set", Outcome({"n": 1}, [EMIT] * 1001, {"n": 1}))
    assert (found.detail["rule"], found.detail["actual"]) == ("maxItems", "1001")


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome({"n": float("nan")}, [], {"n": 1}),
        Outcome({"n": 1}, [{"effect": b"emit"}], {"n": 1}),
        Outcome({"n": 1}, [], {"n": 2**53}),
        Outcome({"n": 1}, [], {"n": 1, "text": "\ud800"}),
        Outcome({"n": 1}, [], {"n": 1, "set": {1}}),
    ],
    ids=["reply", "effects", "number", "text", "state"],
)
def test_what_is_no_json_is_the_runtimes_fault(contract: Contract, outcome: Outcome) -> None:
    assert fault(contract, "set", outcome).kind == "not_serialisable"


# -- refusals ------------------------------------------------------------------------------


def test_a_declared_refusal_passes(contract: Contract) -> None:
    contract.operation("set").check_refusal(Refusal("no", why={"a": 1}), "python")


def test_an_undeclared_refusal_is_the_runtimes_fault(contract: Contract) -> None:
    with pytest.raises(RuntimeFault) as caught:
        contract.operation("set").check_refusal(Refusal("never"), "python")
    assert caught.value.kind == "off_contract"
    assert caught.value.detail["contract"] == "sound@1 set errors"
    assert caught.value.detail["expected"] == ["no"]


def test_a_refusal_with_a_detail_that_is_no_json_is_the_runtimes_fault(
    contract: Contract,
) -> None:
    with pytest.raises(RuntimeFault) as caught:
        contract.operation("set").check_refusal(Refusal("no", why=object()), "python")
    assert caught.value.kind == "not_serialisable"


@pytest.mark.parametrize("detail", [None, [1], "text"])
def test_a_refusal_with_a_detail_that_is_no_object_is_the_runtimes_fault(
    contract: Contract, detail: Any
) -> None:
    refusal = Refusal("no")
    refusal.detail = detail
    with pytest.raises(RuntimeFault) as caught:
        contract.operation("set").check_refusal(refusal, "python")
    assert (caught.value.kind, caught.value.detail["pointer"]) == ("off_contract", "/detail")


def test_half_a_character_in_a_refusals_message_is_mended(contract: Contract) -> None:
    refusal = contract.operation("set").check_refusal(Refusal("no", "ab\ud83d", n=1), "python")
    assert refusal.response() == {
        "code": "refused",
        "message": "ab\ufffd",
        "retryable": False,
        "detail": {"n": 1, "code": "no"},
    }


@pytest.mark.parametrize(
    ("reason", "message", "rule", "actual"),
    [
        (["no"], "", "enum", "array"),
        (7, "", "enum", "integer"),
        ("n\ud83d", "", "enum", "n\ufffd"),
        ("no", {"a": 1}, "type", "object"),
    ],
)
def test_a_refusal_that_is_no_refusal_is_the_handlers_fault(
    contract: Contract, reason: Any, message: Any, rule: str, actual: str
) -> None:
    with pytest.raises(RuntimeFault) as caught:
        contract.operation("set").check_refusal(Refusal(reason, message), "python")
    assert caught.value.kind == "off_contract"
    assert (caught.value.detail["rule"], caught.value.detail["actual"]) == (rule, actual)


def test_members_named_in_digits_are_found_wherever_they_break_a_rule(tmp_path: Path) -> None:
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    document = with_change("/operations/get/request", {**NOTHING, "properties": {"m": counts}})
    document["operations"]["set"]["reply"] = document["events"]["was.set"] = counts
    document["$defs"]["State"]["properties"]["m"] = counts
    written(tmp_path, document)
    contract = Registry.load(tmp_path).get("sound")
    with pytest.raises(BridgeError) as refused:
        contract.operation("get").check_request({"m": {"042": "x"}})
    assert (refused.value.code, refused.value.detail["pointer"]) == ("invalid_request", "/m/042")
    emit = {"effect": "emit", "type": "was.set", "payload": {"7": "x"}}
    for outcome, pointer in (
        (Outcome({"": "x"}, [], {"n": 1}), "/"),
        (Outcome({}, [emit], {"n": 1}), "/0/payload/7"),
        (Outcome({}, [], {"n": 1, "m": {"1": None}}), "/m/1"),
    ):
        assert fault(contract, "set", outcome).detail["pointer"] == pointer


def test_a_schema_that_holds_itself_is_judged_as_deep_as_values_may_be(tmp_path: Path) -> None:
    node = {
        "type": "object",
        "required": ["v"],
        "additionalProperties": False,
        "properties": {
            "v": {"type": "integer"},
            "next": {"$ref": "#/$defs/Node"},
            "either": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "string"}]},
        },
    }

    def nested(levels: int, innermost: Any) -> Any:
        value = innermost
        for n in range(levels):
            value = {"v": n, ("next", "either")[n % 2]: value}
        return value

    document = with_change("/operations/get/request", {"$ref": "#/$defs/Node"})
    document["operations"]["set"]["reply"] = {"$ref": "#/$defs/Node"}
    document["$defs"]["Node"] = node
    written(tmp_path, document)
    contract = Registry.load(tmp_path).get("sound")
    get = contract.operation("get")
    deepest = nested(MAX_DEPTH - 2, {"v": 0})
    assert get.check_request(deepest) == deepest
    with pytest.raises(BridgeError) as refused:
        get.check_request(nested(MAX_DEPTH - 3, {"v": "x"}))
    assert refused.value.code == "invalid_request"
    for levels in (MAX_DEPTH, 900):
        with pytest.raises(BridgeError) as refused:
            get.check_request(nested(levels, {"v": 0}))
        assert refused.value.code == "limit_exceeded"
        outcome = Outcome(nested(levels, {"v": 0}), [], {"n": 1})
        assert "levels of nesting" in str(fault(contract, "set", outcome))


# -- presence ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "told"), [("other", ""), ("presence", "presence")], ids=["none", "one"]
)
def test_an_internal_command_named_presence_is_told_who_is_there(
    tmp_path: Path, operation: str, told: str
) -> None:
    document = with_change(f"/operations/{operation}", SOUND["operations"]["timed"])
    assert loaded(tmp_path, document).told_who_is_there == ""
    assert loaded(tmp_path, {**document, "presence": True}).told_who_is_there == told


def test_clients_may_not_tell_who_is_there(tmp_path: Path) -> None:
    document = with_change("/operations/presence", SOUND["operations"]["set"])
    with pytest.raises(ContractBroken, match="/operations/presence"):
        loaded(tmp_path, {**document, "presence": True})


def loaded(folder: Path, document: dict[str, Any]) -> Contract:
    written(folder, document)
    return Registry.load(folder).get("sound")
