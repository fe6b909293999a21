"""joelclaw's envelopes, held to contracts/joelclaw. No I/O here but `load` reading that file.

What joelclaw drops without a word is refused here with pointer and rule; where the shape is one
that was seen before, or follows from a usual mistake, the message also says what was meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bridge.canonical import parse
from bridge.contracts.files import CONTRACTS, read_json
from bridge.contracts.validation import CompiledSchema, resolve
from bridge.errors import BridgeError, InvalidRequest
from bridge.message import JSON

FILE = CONTRACTS / "joelclaw" / "envelopes.schema.json"
EnvelopeName = Literal[
    "SystemEvent",
    "Doorbell",
    "NotifyMessage",
    "QueueEnvelope",
    "InngestEvent",
    "InngestEvents",
    "OutboundMessage",
    "TerminalRequest",
    "TerminalFrame",
]
NAMES: tuple[EnvelopeName, ...] = get_args(EnvelopeName)
# Seconds since 1970 reach it in the year 5138, milliseconds passed it in 1973.
LEAST_MS = 100_000_000_000


class Envelopes:
    """The compiled contracts of joelclaw's envelopes."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Compile the `$defs` of envelopes.schema.json. Raises BadSchema."""
        definitions = document["$defs"]
        self._schemas = {
            name: CompiledSchema(f"joelclaw {name}", definitions[name], definitions)
            for name in NAMES
        }

    @classmethod
    def load(cls) -> Envelopes:
        """Read and compile the contracts. Raises ContractBroken or BadSchema."""
        return cls(read_json(FILE))

    def check(self, name: EnvelopeName, raw: bytes | str) -> JSON:
        """Return the value of one item, message, body or frame, normalised.

        Raises InvalidRequest for what is off its contract, and BridgeError `invalid_frame`,
        `invalid_text`, `invalid_number` or `limit_exceeded` for what cannot be read as JSON
        that the three languages share. The detail has contract, pointer, rule, expected and
        actual, and `way_out` where it is known.
        """
        schema = self._schemas[name]
        try:
            value = parse(raw, what="the text")
        except BridgeError as error:
            raise _unreadable(schema.contract, error, raw) from None
        violation = schema.violation(value)
        if violation is None:
            return value
        shape = next(_shapes(*_meant(value, name, violation.pointer)), None)
        raise InvalidRequest(violation, f"{shape.name}: {shape.way_out}" if shape else "")


def invented(value: JSON, name: EnvelopeName = "SystemEvent") -> str | None:
    """Return the name of the wrong shape a value has, None if it is none of the known ones."""
    shape = next(_shapes(value, name), None)
    return shape.name if shape else None


def mended(raw: bytes) -> bytes | None:
    """Return JSON whose half surrogate pairs became U+FFFD, None if that is not what is wrong.

    joelclaw's services cut texts with `slice`, which may leave half of a character; its own
    readers take that.
    """
    try:
        text = json.dumps(json.loads(raw, object_pairs_hook=_each_once), ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return None if whole == text else whole.encode()


def _each_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a key twice")
    return found


@dataclass(frozen=True, slots=True)
class _Shape:
    """A wrong shape that is known: its name, what to send instead, and how to tell it."""

    name: str
    way_out: str
    seen: Callable[[Any], bool]


def _meant(value: JSON, name: EnvelopeName, pointer: str) -> tuple[JSON, EnvelopeName]:
    """Return what a violation is about: of several events the one it is in."""
    if type(value) is list and name == "InngestEvents":
        return resolve(value, "/".join(pointer.split("/")[:2])), "InngestEvent"
    return value, name


def _shapes(value: JSON, name: EnvelopeName) -> Iterator[_Shape]:
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


def _unreadable(contract: str, error: BridgeError, raw: bytes | str) -> BridgeError:
    detail = {
        "contract": contract,
        "pointer": "",
        "rule": "json" if error.code == "invalid_frame" else error.code,
        "expected": "at most 64 levels" if error.code == "limit_exceeded" else "JSON",
        "actual": error.message,
        **error.detail,
    }
    start = raw[:8] if isinstance(raw, str) else raw[:8].decode("latin-1")
    way_out = next((w for begin, w in _NO_JSON.items() if start.startswith(begin)), "")
    way_out = _UNSHARED.get(detail["expected"], way_out)
    text = f"{contract}: {error.message}"
    if way_out:
        detail["way_out"] = way_out
        text = f"{text}. {way_out}"
    return BridgeError(error.code, text, **detail)


# What JavaScript and Python make of an object that nobody turned into JSON.
_NO_JSON = {
    "[object ": "An object was sent as it is: send what JSON.stringify returns",
    "{'": "That is Python's repr: send what json.dumps returns",
    "undefine": "Nothing was there to send",
}
# By what `bridge.canonical` expected.
_UNSHARED = {
    "Unicode text": "A text was cut inside a character: cut by code point, not with `slice`",
    "an integer within ±(2^53-1)": "JavaScript rounds beyond it: send large ids as texts",
    "a finite number": "JSON has none: send null, or leave the member out",
}


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

_JSON_IN_JSON = _Shape(
    "JSON in JSON", "send what JSON.stringify returns, once", lambda value: True
)
_SEVERAL = _Shape("several in one item", "send each by itself", lambda value: True)
_LITERAL_BELL = _Shape(
    "`1` for a doorbell", "only the outbound lists ring so; send the event's id", lambda _: True
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
_SHAPES: Mapping[EnvelopeName, tuple[_Shape, ...]] = {
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
