"""The AsyncAPI document: by hand the official parser (npm @asyncapi/parser) took it as valid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from bridge.contracts.asyncapi import document
from bridge.contracts.files import BUILT_IN, META, read_json
from bridge.contracts.validation import resolve
from tests.running import SUBSYSTEMS

FILES = sorted([*BUILT_IN.glob("*/subsystem.json"), *SUBSYSTEMS.glob("*/subsystem.json")])
ERRORS = read_json(META / "envelopes.schema.json")["$defs"]["ErrorReply"]
CONTRACTS = {file.parent.name: read_json(file) for file in FILES}
DOCUMENT = document(CONTRACTS, ERRORS, "1.2.3", "127.0.0.1:4100")


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, below in value.items():
            if name == "$ref" and isinstance(below, str):
                yield below
            else:
                yield from references(below)
    elif isinstance(value, list):
        for below in value:
            yield from references(below)


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > 50
    assert [each for each in found if resolve(DOCUMENT, each.removeprefix("#")) is None] == []


def test_names_are_what_asyncapi_takes() -> None:
    components: Any = DOCUMENT["components"]
    names = [*DOCUMENT["operations"], *DOCUMENT["channels"], *components["schemas"]]
    assert [name for name in names if not re.fullmatch(r"[a-zA-Z0-9._-]+", name)] == []


def test_clients_operations_are_received_and_events_sent() -> None:
    operations: Any = DOCUMENT["operations"]
    counter = {n: o["action"] for n, o in operations.items() if n.startswith("counter.")}
    contract = CONTRACTS["counter"]
    asked = [n for n, o in contract["operations"].items() if not o.get("internal")]
    assert counter == {
        **{f"counter.{name}": "receive" for name in asked},
        **{f"counter.event.{name}": "send" for name in contract["events"]},
    }
    assert len(asked) < len(contract["operations"])


def test_a_payload_is_held_to_what_the_contract_says() -> None:
    payload = {**DOCUMENT, **resolve(DOCUMENT, "/channels/heartbeat/messages/configure/payload")}
    validator = jsonschema_rs.Draft7Validator(payload)
    assert validator.is_valid({"every_ms": 5})
    assert not validator.is_valid({"every_ms": -1})
