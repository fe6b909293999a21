from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.files import BUILT_IN
from bridge.contracts.implementations import load
from bridge.contracts.registry import Registry
from bridge.errors import BridgeError, ContractBroken
from tests.contracts.broken import NOTHING, SOUND, with_change, written

INTEGER = {"type": "integer"}


def close(folder: Path) -> None:
    folder.chmod(0)
    if os.access(folder, os.R_OK):
        pytest.skip("root may enter every folder")


def loading(folder: Path, document: Any) -> ContractBroken:
    file = written(folder, document)
    with pytest.raises(ContractBroken) as caught:
        Registry.load(folder)
    assert caught.value.file == str(file)
    return caught.value


def test_the_built_in_contracts_load() -> None:
    assert Registry.load(BUILT_IN).names() == [
        "heartbeat",
        "sessions",
        "terminal",
        "triage",
    ]


def test_a_sound_contract_loads_with_what_it_says_and_the_defaults(tmp_path: Path) -> None:
    written(tmp_path, SOUND)
    contract = Registry.load(tmp_path).get("sound")
    assert (contract.name, contract.version, contract.owner) == ("sound", 1, "python")
    assert (contract.fallback, contract.assign, contract.timeout_ms) == (None, "message", 5000)
    assert contract.max_state_bytes == 100
    assert contract.initial_state == {"n": 0}
    assert list(contract.operations) == ["set", "timed", "get"]
    assert contract.operations["set"].errors == ("no",)


def test_the_digest_is_that_of_the_file_as_it_lies_there(tmp_path: Path) -> None:
    file = written(tmp_path, SOUND)
    for layout in (file.read_bytes(), b"\n" + file.read_bytes() + b" \n"):
        file.write_bytes(layout)
        expected = hashlib.sha256(layout).hexdigest()
        assert Registry.load(tmp_path).digests() == {"sound": expected}


def test_a_folder_may_be_one_subsystems_own(tmp_path: Path) -> None:
    written(tmp_path, SOUND)
    assert Registry.load(tmp_path / "sound").names() == ["sound"]


def test_an_unknown_subsystem_is_refused_with_those_there_are() -> None:
    with pytest.raises(BridgeError) as caught:
        Registry.load(BUILT_IN / "heartbeat", BUILT_IN / "triage").get("hearbeat")
    assert caught.value.code == "unknown_topic"
    assert caught.value.detail["expected"] == ["heartbeat", "triage"]


def test_the_same_name_in_two_folders_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "a", SOUND)
    file = written(tmp_path / "b", SOUND)
    with pytest.raises(ContractBroken) as caught:
        Registry.load(tmp_path / "a", tmp_path / "b")
    assert (caught.value.file, caught.value.rule) == (str(file), "unique")


def test_a_folder_without_contracts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractBroken, match=r"expected <name>/subsystem.json in it, found none"):
        Registry.load(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractBroken, match="expected a folder of subsystems"):
        Registry.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["outlet", "phoenix"])
def test_names_of_the_bridges_own_topics_are_refused(tmp_path: Path, name: str) -> None:
    written(tmp_path, {**SOUND, "name": name}, name)
    with pytest.raises(ContractBroken) as caught:
        Registry.load(tmp_path)
    assert (caught.value.pointer, caught.value.rule) == ("/name", "reserved")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{", "json"),
        ('{"name": "a", "name": "b"}', "invalid_text"),
        ('{"version": 9007199254740992}', "invalid_number"),
        ("[" * 65 + "]" * 65, "limit_exceeded"),
    ],
)
def test_a_file_that_is_not_strict_json_is_refused(tmp_path: Path, text: str, rule: str) -> None:
    assert loading(tmp_path, text).rule == rule


@pytest.mark.parametrize(
    ("pointer", "value", "at", "rule"),
    [
        # the file's own shape
        ("/name", ..., "", "required"),
        ("/name", "other", "/name", "name"),
        ("/name", "Sound", "/name", "pattern"),
        ("/version", 0, "/version", "minimum"),
        ("/owner", "ruby", "/owner", "enum"),
        ("/fallback", "ruby", "/fallback", "enum"),
        ("/fallback", ..., "", "required"),
        ("/surprise", 1, "/surprise", "additionalProperties"),
        ("/operations", {}, "/operations", "minProperties"),
        ("/operations/set/kind", "mutation", "/operations/set/kind", "enum"),
        ("/operations/set/effects", ["fax"], "/operations/set/effects/0", "enum"),
        ("/operations/set/idempotency", "token", "/operations/set/idempotency", "pattern"),
        # what Channels and the bridge keep for themselves
        ("/operations/phx_join", SOUND["operations"]["get"], "/operations/phx_join", "reserved"),
        ("/events/phx_reply", {}, "/events/phx_reply", "reserved"),
        ("/events/presence_diff", {}, "/events/presence_diff", "reserved"),
        (
            "/$defs/Set/properties/message_id",
            {"type": "string"},
            "/$defs/Set/properties/message_id",
            "reserved",
        ),
        (
            "/$defs/Set/properties/runtime",
            {"type": "string"},
            "/$defs/Set/properties/runtime",
            "reserved",
        ),
        # schemas that are none
        ("/$defs/State/type", "obj", "/$defs/State/type", "anyOf"),
        ("/$defs/State/required", "n", "/$defs/State/required", "type"),
        (
            "/$defs/Set/properties/token/maxLength",
            "x",
            "/$defs/Set/properties/token/maxLength",
            "type",
        ),
        (
            "/$defs/Set/properties/token/pattern",
            "(",
            "/$defs/Set/properties/token/pattern",
            "format",
        ),
        # references
        ("/state", {"$ref": "#/$defs/Missing"}, "/state/$ref", "ref"),
        ("/state", {"$ref": "other.json#/$defs/State"}, "/state/$ref", "ref"),
        ("/state", {"$ref": "https://example.com/s.json"}, "/state/$ref", "ref"),
        ("/$defs/Loop", {"$ref": "#/$defs/Loop"}, "/$defs/Loop/$ref", "ref_cycle"),
        (
            "/$defs/Loop",
            {"anyOf": [INTEGER, {"$ref": "#/$defs/Loop"}]},
            "/$defs/Loop/anyOf/1/$ref",
            "ref_cycle",
        ),
        # outside the subset
        ("/$defs/State/properties/n/enum", [], "/$defs/State/properties/n/enum", "enum"),
        (
            "/$defs/Set/properties/token/format",
            "uuid",
            "/$defs/Set/properties/token/format",
            "format",
        ),
        ("/$defs/State/additionalProperties", ..., "/$defs/State", "additionalProperties"),
        ("/events/was.set", {"type": "number"}, "/events/was.set", "number"),
        ("/$defs/State/properties/n", {"type": "number"}, "/$defs/State/properties/n", "number"),
        ("/$defs/State/properties/n/default", 1, "/$defs/State/properties/n/default", "default"),
        (
            "/$defs/Set/properties/meta/additionalProperties",
            {**INTEGER, "default": 1},
            "/$defs/Set/properties/meta/additionalProperties/default",
            "default",
        ),
        # values that break their own schema
        ("/initial_state", {}, "/initial_state", "required"),
        ("/initial_state", {"n": "0"}, "/initial_state/n", "type"),
        ("/initial_state", {"n": 0, "text": "x" * 90}, "/initial_state", "max_state_bytes"),
        ("/$defs/Set/properties/n/default", 101, "/$defs/Set/properties/n/default", "maximum"),
        # operations
        ("/operations/get/effects", ["emit"], "/operations/get/effects", "query"),
        ("/operations/get/idempotency", "/n", "/operations/get/idempotency", "query"),
        ("/operations/set/idempotency", "/nothing", "/operations/set/idempotency", "pointer"),
        ("/operations/get/request", {}, "/operations/get/request/type", "request"),
        ("/operations/get/request", INTEGER, "/operations/get/request/type", "request"),
        (
            "/operations/get/content_type",
            "image/png",
            "/operations/get/content_type/base64",
            "additionalProperties",
        ),
        ("/events", {}, "/operations/set/effects", "events"),
        ("/operations/set/effects", ["emit", "call"], "/operations/set/effects", "call"),
    ],
)
def test_a_broken_contract_stops_the_start_with_file_pointer_and_rule(
    tmp_path: Path, pointer: str, value: Any, at: str, rule: str
) -> None:
    fault = loading(tmp_path, with_change(pointer, value))
    assert (fault.pointer, fault.rule) == (at, rule)
    assert str(fault) == f"{fault.file}: {at or '(whole file)'}: {rule}: {fault.message}"


@pytest.mark.parametrize(
    ("pointer", "value", "at", "told"),
    [
        ("/state", {"type": "sting"}, "/state/type", "string, "),
        (
            "/$defs/State/properties/n/type",
            ["intger", "null"],
            "/$defs/State/properties/n/type",
            "integer, ",
        ),
        ("/state", {"not": {"type": "arrray"}}, "/state/not/type", "array, "),
        ("/owner", "typscript", "/owner", "typescript, python, elixir, got"),
        ("/fallback", "elxir", "/fallback", "elixir, "),
        ("/operations/set/kind", "comand", "/operations/set/kind", "command, query, got"),
        ("/operations/set/effects", ["cancle"], "/operations/set/effects/0", "cancel, "),
    ],
)
def test_a_misspelled_word_is_told_with_what_is_allowed_the_nearest_first(
    tmp_path: Path, pointer: str, value: Any, at: str, told: str
) -> None:
    fault = loading(tmp_path, with_change(pointer, value))
    assert fault.pointer == at
    assert fault.message.startswith(f"expected one of {told}")


@pytest.mark.parametrize("wrong", ["#/$defs/Sett", "#/$defs/set", "#/defs/Set", "Set"])
def test_a_misspelled_reference_is_told_before_what_it_makes_of_its_definition(
    tmp_path: Path, wrong: str
) -> None:
    document = with_change("/operations/timed/request", {"$ref": wrong})
    document["operations"]["set"]["request"] = {"$ref": wrong}
    fault = loading(tmp_path, document)
    assert (fault.pointer, fault.rule) == ("/operations/set/request/$ref", "ref")
    assert fault.message.startswith(f"{wrong!r}, '#/$defs/Set' perhaps: `$ref` is ")


def test_floats_are_taken_in_requests_but_not_where_they_could_be_stored(tmp_path: Path) -> None:
    number = {**NOTHING, "properties": {"x": {"type": "number"}}}
    written(tmp_path, with_change("/operations/get/request", number))
    Registry.load(tmp_path)
    fault = loading(tmp_path, with_change("/operations/get/reply", number))
    assert (fault.pointer, fault.rule) == ("/operations/get/reply/properties/x", "number")


def test_a_recursive_definition_is_taken_if_a_member_stands_between(tmp_path: Path) -> None:
    tree = {**NOTHING, "properties": {"left": {"$ref": "#/$defs/Tree"}}}
    written(tmp_path, with_change("/$defs/Tree", tree))
    Registry.load(tmp_path)


def test_definitions_that_double_at_each_level_are_refused(tmp_path: Path) -> None:
    document = with_change("/events/many", {"$ref": "#/$defs/L9"})
    document["$defs"]["L0"] = INTEGER
    for n in range(1, 10):
        twice = [{"$ref": f"#/$defs/L{n - 1}"}] * 2
        document["$defs"][f"L{n}"] = {"anyOf": twice}
    fault = loading(tmp_path, document)
    assert (fault.pointer, fault.rule) == ("/$defs/L8/anyOf/0/$ref", "ref_ways")


def test_a_folder_that_cannot_be_entered_is_named_with_the_way_out(tmp_path: Path) -> None:
    written(tmp_path, SOUND)
    close(tmp_path)
    try:
        with pytest.raises(ContractBroken, match=r"read and enter.*chmod -R a\+rX"):
            Registry.load(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_subsystem_that_cannot_be_entered_is_left_out_and_told_of_once(tmp_path: Path) -> None:
    written(tmp_path, SOUND)
    shut = written(tmp_path, {**SOUND, "name": "shut"}, "shut").parent
    implementations = tmp_path / "implementations.json"
    implementations.write_text(json.dumps({"shut": {"python": "./shut/x.py"}}))
    close(shut)
    try:
        left_out: list[ContractBroken] = []
        names = Registry.load(tmp_path, left_out=left_out).names()
        assert load(implementations, left_out) == {}
    finally:
        shut.chmod(0o700)
    assert names == [SOUND["name"]]
    assert [fault.file for fault in left_out] == [str(shut / "subsystem.json")]
    assert "read and enter" in left_out[0].message
