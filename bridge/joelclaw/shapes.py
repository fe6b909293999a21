"""Wrong shapes of joelclaw's envelopes that were seen before, or follow from a usual mistake.

No I/O here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.contracts.validation import resolve
from bridge.message import JSON

# Seconds since 1970 reach it in the year 5138, milliseconds passed it in 1973.
LEAST_MS = 100_000_000_000


@dataclass(frozen=True, slots=True)
class _Shape:
    """A wrong shape that is known: its name, what to send instead, and how to tell it."""

    name: str
    way_out: str
    seen: Callable[[Any], bool] = lambda value: True


def invented(value: JSON, name: str = "SystemEvent") -> str | None:
    """Return the name of the wrong shape a value has, None if it is none of the known ones."""
    shape = next(_shapes(value, name), None)
    return shape.name if shape else None


def way_out(value: JSON, name: str, pointer: str) -> str:
    """Return what to send instead of a value that is off its contract at `pointer`.

    It begins with the wrong shape's name; empty if the shape is none of the known ones.
    """
    if type(value) is list and name == "InngestEvents":  # of several the one that is meant
        value, name = resolve(value, "/".join(pointer.split("/")[:2])), "InngestEvent"
    shape = next(_shapes(value, name), None)
    return f"{shape.name}: {shape.way_out}" if shape else ""


def _shapes(value: JSON, name: str) -> Iterator[_Shape]:
    if type(value) is str:
        if value.lstrip()[:1] in ("{", "["):
            yield _JSON_IN_JSON
    elif type(value) is list and name == "InngestEvents":
        for event in value:
            yield from _shapes(event, "InngestEvent")
    elif type(value) is list:
        yield _SEVERAL
    elif type(value) is dict:
        yield from (shape for shape in _SHAPES[name] if shape.seen(value))
    elif type(value) is int and value == 1 and name == "Doorbell":
        yield _LITERAL_BELL


def _instead(had: str, expected: str) -> Callable[[Any], bool]:
    return lambda value: had in value and expected not in value


def _is(member: str, test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: member in value and test(value[member])


def _number(value: Any) -> bool:
    return type(value) in (int, float)


def _text(value: Any) -> bool:
    return type(value) is str


_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]")
_UNIQUE = "give each event an id of its own, such as crypto.randomUUID()"
_MILLISECONDS = "`ts` is an integer, milliseconds since 1970: Date.now()"

_JSON_IN_JSON = _Shape("JSON in JSON", "send what JSON.stringify returns, once")
_SEVERAL = _Shape("several in one item", "send each by itself")
_LITERAL_BELL = _Shape(
    "`1` for a doorbell", "only the outbound lists ring so; send the event's id"
)
_TIMES = (
    _Shape("`timestamp` for `ts`", _MILLISECONDS, _instead("timestamp", "ts")),
    _Shape(
        "ISO time for `ts`",
        _MILLISECONDS,
        _is("ts", lambda ts: _text(ts) and bool(_ISO.match(ts))),
    ),
    _Shape("text for `ts`", _MILLISECONDS, _is("ts", _text)),
    _Shape(
        "seconds for `ts`", _MILLISECONDS, _is("ts", lambda ts: _number(ts) and 0 < ts < LEAST_MS)
    ),
    _Shape("fractional `ts`", _MILLISECONDS, _is("ts", lambda ts: type(ts) is float)),
)
_IDS = (
    _Shape("missing id", _UNIQUE, lambda value: "id" not in value or value["id"] is None),
    _Shape("empty id", _UNIQUE, _is("id", lambda id: id == "")),
    _Shape("number for id", "an id is a text: write it in quotes", _is("id", _number)),
)
_EVENT = (
    _Shape(
        "doorbell for an event",
        "push the event itself to the list, and publish the doorbell",
        _instead("eventId", "id"),
    ),
    _Shape(
        "Koko's envelope",
        "ADR-0116's shape is read by nobody: send `payload` for `data`, `ts` in milliseconds "
        "for `timestamp`, and an `id`",
        lambda value: (
            _instead("data", "payload")(value)
            and _instead("timestamp", "ts")(value)
            and "id" not in value
        ),
    ),
    _Shape(
        "Inngest event on the gateway's list",
        "send `type` and `payload` for `name` and `data`, or send it to Inngest",
        _instead("name", "type"),
    ),
    _Shape("`data` for `payload`", "rename the member", _instead("data", "payload")),
    _Shape(
        "text for `payload`", "`payload` is an object, not JSON in a text", _is("payload", _text)
    ),
    *_TIMES,
    *_IDS,
)
_INNGEST = (
    _Shape(
        "gateway event for Inngest",
        "send `name` and `data` for `type` and `payload`",
        lambda value: _instead("type", "name")(value) and _instead("payload", "data")(value),
    ),
    _Shape("`type` for `name`", "rename the member", _instead("type", "name")),
    _Shape("`payload` for `data`", "rename the member", _instead("payload", "data")),
    _Shape("text for `data`", "`data` is an object, not JSON in a text", _is("data", _text)),
    *_TIMES,
    *_IDS[1:],
)
# By envelope; `Envelopes` has their contracts.
_SHAPES: Mapping[str, tuple[_Shape, ...]] = {
    "SystemEvent": _EVENT,
    "Doorbell": (
        _Shape(
            "event for a doorbell",
            "the event goes to the list; publish its `eventId` and `type`",
            lambda value: _instead("id", "eventId")(value) and "payload" in value,
        ),
        _Shape("`id` for `eventId`", "rename the member", _instead("id", "eventId")),
    ),
    "NotifyMessage": (
        *_EVENT,
        _Shape(
            "`text` for `prompt` and `message`",
            "the text stands in both",
            _is("payload", lambda payload: type(payload) is dict and "text" in payload),
        ),
    ),
    "QueueEnvelope": (
        _Shape("`type` for `name`", "rename the member", _instead("type", "name")),
        _Shape("`payload` for `data`", "rename the member", _instead("payload", "data")),
        _Shape("label for `priority`", "send 0 to 3 for P0 to P3", _is("priority", _text)),
        *_TIMES,
        *_IDS,
    ),
    "InngestEvent": _INNGEST,
    "InngestEvents": _INNGEST,
    "OutboundMessage": (
        _Shape("`message` for `text`", "rename the member", _instead("message", "text")),
        _Shape(
            "milliseconds for `ts`",
            "here, and only here, it is what toISOString() returns",
            _is("ts", _number),
        ),
    ),
    "TerminalRequest": (
        _Shape(
            "prompt without `text`",
            "the prompt stands in `text`",
            lambda value: value.get("type") == "prompt" and "text" not in value,
        ),
        _Shape(
            "unknown type",
            "send `prompt`, `abort` or `status`",
            _is("type", lambda type_: type_ not in ("prompt", "abort", "status")),
        ),
    ),
    "TerminalFrame": (
        _Shape(
            "`delta` for `text_delta`",
            "ADR-0038's sketch was not built: the type is `text_delta`",
            _is("type", lambda type_: type_ == "delta"),
        ),
        _Shape(
            "`done` for `turn_end`",
            "ADR-0038's sketch was not built: the type is `turn_end`",
            _is("type", lambda type_: type_ == "done"),
        ),
    ),
}
