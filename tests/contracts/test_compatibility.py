from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from bridge.contracts.compatibility import Compatibility, changes
from bridge.contracts.files import BUILT_IN, read_json
from bridge.contracts.validation import CompiledSchema
from tests.contracts.broken import SOUND, with_change
from tests.contracts.schemas import changed, definitions, objects, schemas, values

STATE, SET = "/$defs/State/properties", "/$defs/Set/properties"
ANY_TEXT = {"type": "string"}
SET_AND_TIMED = [
    ("operation set, request", "clients that send"),
    ("operation set, request", "timers that are set"),
    ("operation timed, request", "timers that are set"),
]


def raised(document: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**document, "version": 2, **more}


def both(*edits: tuple[str, Any]) -> dict[str, Any]:
    """Return the sound contract with several changes."""
    document = deepcopy(SOUND)
    for pointer, value in edits:
        *path, last = pointer.split("/")[1:]
        place = document
        for token in path:
            place = place[token]
        place[last] = value
    return document


def breaking(old: Any, new: Any) -> list[tuple[str, str]]:
    return [(c.where, c.breaks) for c in changes(old, new) if c.breaking]


ORDINARY = [
    ("texts", "/summary", "Another."),
    ("an optional member of a request", f"{SET}/more", ANY_TEXT),
    ("a member of a request with a default", f"{SET}/more", {**ANY_TEXT, "default": "x"}),
    ("a request takes more", f"{SET}/n/maximum", 200),
    ("another default", f"{SET}/n/default", 8),
    ("a new operation", "/operations/put", SOUND["operations"]["set"]),
    ("a new event", "/events/was.put", {"$ref": "#/$defs/State"}),
    ("a new reason of refusal", "/operations/set/errors", ["no", "not_now"]),
    ("clients may ask what timers could", "/operations/timed/internal", False),
    ("another first owner", "/owner", "elixir"),
    ("more time", "/timeout_ms", 9000),
    ("larger states", "/max_state_bytes", 200),
]


@pytest.mark.parametrize(("pointer", "value"), [pytest.param(*c[1:], id=c[0]) for c in ORDINARY])
def test_an_ordinary_change_breaks_nobody(pointer: str, value: Any) -> None:
    assert breaking(SOUND, with_change(pointer, value)) == []


def test_an_optional_member_of_replies_events_and_states_breaks_nobody_in_a_new_version() -> None:
    assert breaking(SOUND, raised(with_change(f"{STATE}/more", ANY_TEXT))) == []


BREAKS: list[tuple[str, str, Any, list[tuple[str, str]]]] = [
    ("an operation is gone", "/operations/get", ..., [("operation get", "clients that send")]),
    ("a timer's operation is gone", "/operations/timed", ...,
     [("operation timed", "timers that are set")]),
    ("clients may not ask it", "/operations/set/internal", True,
     [("operation set", "clients that send")]),
    ("a command became a query", "/operations/get/kind", "command",
     [("operation get", "clients that send")]),
    ("other repeats", "/operations/set/idempotency", "/n",
     [("operation set", "clients that send")]),
    ("a request takes less", f"{SET}/n/maximum", 9, SET_AND_TIMED),
    ("a request's member is gone", f"{SET}/token", ..., SET_AND_TIMED),
    ("a request's member must be there", "/$defs/Set/required", ["token"], SET_AND_TIMED),
    ("an event is gone", "/events/was.set", ..., [("event was.set", "readers of events")]),
    ("smaller states", "/max_state_bytes", 99, [("state", "live states")]),
    ("states, replies and events of another type", f"{STATE}/n", ANY_TEXT,
     [("operation get, reply", "readers of replies"),
      ("operation set, reply", "readers of replies"),
      ("event was.set", "readers of events"),
      ("state", "live states")]),
    ("a reply's member may be missing", "/$defs/State/required", [],
     [("operation get, reply", "readers of replies"),
      ("operation set, reply", "readers of replies"),
      ("event was.set", "readers of events")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pointer", "value", "expected"), [pytest.param(*c[1:], id=c[0]) for c in BREAKS]
)
def test_what_breaks_is_said_of_whom_it_breaks(
    pointer: str, value: Any, expected: list[tuple[str, str]]
) -> None:
    assert sorted(breaking(SOUND, raised(with_change(pointer, value)))) == sorted(expected)


def test_a_state_that_grows_in_the_same_version_breaks_who_goes_back() -> None:
    assert ("state", "going back") in breaking(SOUND, with_change(f"{STATE}/more", ANY_TEXT))


def test_an_older_version_breaks_live_states() -> None:
    assert breaking(raised(SOUND), SOUND) == [("contract", "live states")]


def test_a_topic_where_nobody_is_seen_any_more_breaks_clients() -> None:
    seen = {**SOUND, "presence": True}
    assert breaking(seen, SOUND) == [("contract", "clients that send")]
    assert breaking(SOUND, seen) == []


def test_another_default_is_told() -> None:
    found = changes(SOUND, with_change(f"{SET}/n/default", 8))
    assert {(c.where, c.rule, c.message, c.pointer) for c in found} == {
        (f"operation {name}, request", "default", "left out, it was 7 and is 8", "/n")
        for name in ("set", "timed")
    }


def test_a_member_with_a_default_may_be_asked_for() -> None:
    new = both((f"{SET}/more", {**ANY_TEXT, "default": "x"}), ("/$defs/Set/required", ["more"]))
    assert breaking(SOUND, new) == []
    assert breaking(SOUND, both((f"{SET}/more", ANY_TEXT), ("/$defs/Set/required", ["more"])))


def test_a_default_that_is_gone_from_a_member_that_must_be_there_breaks_clients() -> None:
    old = both(("/$defs/Set/required", ["n"]))
    new = both(("/$defs/Set/required", ["n"]), (f"{SET}/n", {"type": "integer", "minimum": 0}))
    assert breaking(old, new) == SET_AND_TIMED


def test_a_default_of_an_open_request_does_not_hide_what_clients_sent_there() -> None:
    old = both(("/$defs/Set/additionalProperties", True))
    new = both(
        ("/$defs/Set/additionalProperties", True),
        (f"{SET}/more", {**ANY_TEXT, "default": "x"}),
    )
    assert breaking(old, new) == SET_AND_TIMED


def test_a_subsystem_that_is_gone_breaks_everybody() -> None:
    assert breaking(SOUND, None) == [
        ("contract", "clients that send"),
        ("contract", "live states"),
    ]
    assert [change.breaking for change in changes(None, SOUND)] == [False]


@pytest.mark.parametrize(
    "file", sorted(BUILT_IN.glob("*/subsystem.json")), ids=lambda f: f.parent.name
)
def test_nothing_changes_from_a_contract_to_itself(file: Any) -> None:
    assert changes(read_json(file), read_json(file)) == []


OBJECTS = [value for value in values() if isinstance(value, dict)]


@st.composite
def requests(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw a request with defaults of its members, and another one made from it."""
    named = draw(definitions)
    old = {**draw(objects(schemas)), "type": "object"}
    new = {**draw(changed(old)), "type": "object"}
    sides = []
    for request in (old, new):
        members = dict(request.get("properties", {}))
        for name, schema in members.items():
            if isinstance(schema, dict) and draw(st.booleans()):
                compiled = CompiledSchema("", schema, named)
                fitting = [value for value in (0, 1, "a", None, True) if compiled.takes(value)]
                if fitting:
                    members[name] = {**schema, "default": draw(st.sampled_from(fitting))}
        sides.append({**SOUND, "$defs": named, "operations": {}, "events": {}, "state": {}})
        operation = {
            "kind": "command",
            "request": {**request, "properties": members},
            "reply": {},
        }
        sides[-1]["operations"] = {"set": operation}
    return sides[0], sides[1]


def filled(contract: Any, value: Any) -> Any:
    members = contract["operations"]["set"]["request"]["properties"].items()
    defaults = {n: m["default"] for n, m in members if isinstance(m, dict) and "default" in m}
    return {**defaults, **value}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests())
def test_what_clients_sent_is_taken_where_that_is_said(pair: tuple[Any, Any]) -> None:
    old, new = pair
    if any(change.breaking for change in Compatibility(old, new).changes()):
        event("breaks")
        return
    before, after = (
        CompiledSchema("", side["operations"]["set"]["request"], side["$defs"]) for side in pair
    )
    sent = [value for value in OBJECTS if before.takes(filled(old, value))]
    event("sent" if sent else "nothing to send")
    assert [value for value in sent if not after.takes(filled(new, value))] == []
