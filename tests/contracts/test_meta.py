from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.contracts.files import META
from bridge.contracts.loading import effect_schemas
from bridge.contracts.validation import CompiledSchema
from bridge.errors import CODES, Refusal
from bridge.journal.values import OUTBOX_KINDS
from bridge.message import RUNTIMES, context_for

KINDS = ["emit", "inngest", "system_event", "schedule", "cancel", "call"]


def read(name: str) -> Any:
    return json.loads((META / name).read_text(encoding="utf-8"))


def envelope(name: str) -> CompiledSchema:
    definitions = read("envelopes.schema.json")["$defs"]
    return CompiledSchema(name, definitions[name], definitions)


def test_the_error_codes_are_those_of_the_code() -> None:
    listed = {
        entry["code"]: (entry["retryable"], entry["meaning"])
        for entry in read("errors.json")["codes"]
    }
    assert listed == CODES


def test_the_effects_are_the_closed_list() -> None:
    definitions = read("subsystem.schema.json")["$defs"]
    assert list(effect_schemas()) == KINDS
    assert definitions["EffectKind"]["enum"] == KINDS
    assert set(OUTBOX_KINDS) == set(KINDS) - {"emit", "schedule", "cancel"}


@pytest.mark.parametrize(
    ("session", "good"),
    [("agent", True), ("pid", True), ("a-pid-1", True), ("pid-1", False), ("pid-12a", False)],
)
def test_no_system_event_goes_to_a_session_named_after_a_process(
    session: str, good: bool
) -> None:
    effect = {"effect": "system_event", "session": session, "type": "t", "payload": {}}
    violation = effect_schemas()["system_event"].violation(effect)
    assert (violation is None) == good
    assert violation is None or (violation.pointer, violation.rule) == ("/session", "not")


def test_the_runtimes_are_those_of_the_code() -> None:
    definitions = read("subsystem.schema.json")["$defs"]
    assert tuple(definitions["RuntimeName"]["enum"]) == RUNTIMES


def test_a_context_is_what_the_envelope_says() -> None:
    context = context_for("m", 0, 5000, "UTC", "key").as_json()
    assert envelope("Context").violation(context) is None


def test_an_error_reply_is_what_the_envelope_says() -> None:
    assert envelope("ErrorReply").violation(Refusal("no", why="so").response()) is None


@pytest.mark.parametrize(
    ("data", "good"),
    [
        ({"invocation": "a", "ok": {"reply": None}}, True),
        ({"invocation": "a", "ok": {"reply": 1, "effects": [], "state": {}}}, True),
        ({"invocation": "a", "refused": {"reason": "no", "message": "", "detail": {}}}, True),
        ({"invocation": "a", "fault": {"kind": "crashed", "message": ""}}, True),
        ({"invocation": "a"}, False),
        ({"invocation": "a", "fault": {"kind": "tired", "message": ""}}, False),
        (
            {"invocation": "a", "ok": {"reply": 1}, "fault": {"kind": "crashed", "message": ""}},
            False,
        ),
    ],
)
def test_an_outcome_is_exactly_one_of_ok_refused_and_fault(data: Any, good: bool) -> None:
    assert (envelope("OutcomeData").violation(data) is None) is good
