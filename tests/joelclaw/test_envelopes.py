from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.files import BUILT_IN, CONTRACTS, read_json
from bridge.contracts.loading import subset
from bridge.errors import BridgeError, InvalidRequest
from bridge.joelclaw import examples as examples_module
from bridge.joelclaw.envelopes import FILE, NAMES, EnvelopeName, Envelopes
from bridge.joelclaw.examples import EXAMPLES, Example, examples, faults, raw_of, verdict_of
from bridge.joelclaw.shapes import invented

ENVELOPES = Envelopes.load()
ALL = list(examples())
BROKEN = [(name, example) for name, example in ALL if example["verdict"] != "valid"]
VALID = [(name, example) for name, example in ALL if example["verdict"] == "valid"]
EVENT = {"id": "a", "type": "demo.noted", "source": "demo", "payload": {}, "ts": 1767225600000}


def refusal(raw: bytes | str, name: EnvelopeName = "SystemEvent") -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        ENVELOPES.check(name, raw)
    return caught.value


def without(member: str, **others: Any) -> str:
    value = {**EVENT, **others}
    del value[member]
    return json.dumps(value)


@pytest.mark.parametrize(
    ("name", "example"), ALL, ids=[f"{name}: {example['name']}" for name, example in ALL]
)
def test_every_example_gets_its_verdict(name: EnvelopeName, example: Example) -> None:
    assert verdict_of(ENVELOPES, name, example) == example["verdict"]
    if "value" in example:
        assert invented(example["value"], name) == example.get("invented")


def test_every_envelope_has_examples_of_both_kinds() -> None:
    assert list(read_json(EXAMPLES)) == list(NAMES)
    assert {name for name, _ in VALID} == {name for name, _ in BROKEN} == set(NAMES)


def test_what_is_accepted_comes_back_as_it_was() -> None:
    for name, example in VALID:
        assert ENVELOPES.check(name, raw_of(example)) == json.loads(raw_of(example))


def test_every_refusal_names_contract_pointer_rule_expected_and_actual() -> None:
    parts = ("contract", "pointer", "rule", "expected", "actual")
    for name, example in BROKEN:
        error = refusal(raw_of(example), name)
        assert [part for part in parts if part not in error.detail] == []
        assert error.detail["contract"] == f"joelclaw {name}"
        assert error.message.startswith(f"joelclaw {name}: ")
        assert not error.retryable
        json.dumps(error.response()).encode()


def test_a_known_shape_is_named_with_the_way_out() -> None:
    for name, example in BROKEN:
        if "invented" in example:
            error = refusal(raw_of(example), name)
            assert error.detail["way_out"].startswith(f"{example['invented']}: ")
            assert error.message.endswith(f". {error.detail['way_out']}")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            without("payload", data={}),
            "joelclaw SystemEvent: (whole value) breaks required: expected member 'payload', got "
            "object. `data` for `payload`: rename the member",
        ),
        (
            json.dumps({**EVENT, "ts": "2026-01-01T00:00:00Z"}),
            "joelclaw SystemEvent: /ts breaks type: expected integer, got string. ISO time for "
            "`ts`: `ts` is an integer, milliseconds since 1970: Date.now()",
        ),
        (
            without("id"),
            "joelclaw SystemEvent: (whole value) breaks required: expected member 'id', got "
            "object. missing id: give each event an id of its own, such as crypto.randomUUID()",
        ),
        (
            json.dumps({**EVENT, "payload": [1]}),
            "joelclaw SystemEvent: /payload breaks type: expected object, got array",
        ),
        (
            "[object Object]",
            "joelclaw SystemEvent: the text is not JSON: Expecting value: line 1 column 2 "
            "(char 1). An object was sent as it is: send what JSON.stringify returns",
        ),
        (
            b'{"a":"\xff"}',
            "joelclaw SystemEvent: the text is not UTF-8: byte 6",
        ),
        (
            json.dumps({**EVENT, "payload": {"text": "\ud83e"}}),
            "joelclaw SystemEvent: /payload/text: expected Unicode text, got a lone surrogate. "
            "A text was cut inside a character: cut by code point, not with `slice`",
        ),
    ],
)
def test_a_message_says_what_is_wrong_and_what_to_do(raw: bytes | str, message: str) -> None:
    assert refusal(raw).message == message


def test_a_violation_is_an_invalid_request_and_what_cannot_be_read_keeps_its_code() -> None:
    assert isinstance(refusal(without("id")), InvalidRequest)
    codes = {
        "{": "invalid_frame",
        '{"a":NaN}': "invalid_number",
        '{"a":1,"a":2}': "invalid_text",
        "[" * 65 + "]" * 65: "limit_exceeded",
    }
    assert {raw: refusal(raw).code for raw in codes} == codes


def test_the_values_themselves_are_never_in_the_message() -> None:
    error = refusal(json.dumps({**EVENT, "payload": "secret", "id": ""}))
    assert "secret" not in json.dumps(error.response())


def test_of_several_inngest_events_the_broken_one_is_explained() -> None:
    good = {"name": "demo/noted", "data": {}}
    body = json.dumps([good, {"data": {}}, {"name": "demo/noted", "payload": {}}])
    error = refusal(body, "InngestEvents")
    assert (error.detail["pointer"], error.detail["expected"]) == ("/1", "member 'name'")
    assert "way_out" not in error.detail


def test_the_contracts_stay_inside_the_subset() -> None:
    definitions = read_json(FILE)["$defs"]
    for name, schema in definitions.items():
        assert subset().lint(schema, f"/$defs/{name}", definitions) == []


def test_the_file_lists_the_envelopes_that_are_checked() -> None:
    listed = [one["$ref"].removeprefix("#/$defs/") for one in read_json(FILE)["anyOf"]]
    assert listed == list(NAMES)


def test_triage_takes_the_system_event_of_these_contracts() -> None:
    triage = read_json(BUILT_IN / "triage" / "subsystem.json")
    assert triage["$defs"]["SystemEvent"] == read_json(FILE)["$defs"]["SystemEvent"]


def test_a_fault_in_the_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "joelclaw"
    shutil.copytree(FILE.parent, folder)
    file, listed = folder / FILE.name, folder / EXAMPLES.name
    monkeypatch.setattr(examples_module, "FILE", file)
    monkeypatch.setattr(examples_module, "EXAMPLES", listed)
    assert faults() == []
    text = file.read_text(encoding="utf-8")
    assert text.count('"minLength": 1, "maxLength": 200}') == 3
    file.write_text(text.replace('"minLength": 1, "maxLength": 200}', '"format": "uuid"}'))
    assert [fault.split(": ")[:2] for fault in faults() if fault.startswith("/")] == [
        [f"/$defs/{place}/format", "format"]
        for place in (
            "SystemEvent/properties/id",
            "Doorbell/properties/eventId",
            "QueueEnvelope/properties/id",
        )
    ]
    assert (
        "SystemEvent, empty id: expected {'pointer': '/id', 'rule': 'minLength'}, got valid"
        in faults()
    )


def test_the_readmes_listing_of_the_folder_is_true() -> None:
    lines = (CONTRACTS / "README.md").read_text(encoding="utf-8").splitlines()
    first = lines.index("```") + 1
    listed = {line.split()[0].split("/")[0] for line in lines[first : lines.index("```", first)]}
    there = {path.name for path in CONTRACTS.iterdir() if path.name != "README.md"}
    assert listed == there
