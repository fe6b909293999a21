"""joelclaw's envelopes, held to contracts/joelclaw. No I/O here but `load` reading that file.

What joelclaw drops without a word is refused here with pointer and rule; where the shape is one
that was seen before, or follows from a usual mistake, the message also says what was meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

from bridge.canonical import check_values, parse
from bridge.contracts.files import CONTRACTS, read_json
from bridge.contracts.validation import CompiledSchema
from bridge.errors import BridgeError, InvalidRequest, Violation
from bridge.joelclaw.shapes import way_out
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
UNNAMED = "(none)"
NAMES: tuple[EnvelopeName, ...] = get_args(EnvelopeName)


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

    def check(self, name: EnvelopeName, raw: bytes | str, first: int = 0) -> JSON:
        """Return the value of one item, message, body or frame, normalised.

        `first` is the place of a part's first item in the array that it was cut from.

        Raises InvalidRequest for what is off its contract, and BridgeError `invalid_frame`,
        `invalid_text`, `invalid_number` or `limit_exceeded` for what cannot be read as JSON
        that the three languages share. The detail has contract, pointer, rule, expected and
        actual, and `way_out` where it is known.
        """
        schema = self._schemas[name]
        try:
            check_values(raw if isinstance(raw, str) else raw.decode("latin-1"))
            value = parse(raw, what="the text")
        except BridgeError as error:
            raise _unreadable(schema.contract, error, raw) from None
        violation = schema.violation(value)
        if violation is None:
            return value
        hint = way_out(value, name, violation.pointer)
        raise InvalidRequest(_moved(violation, first) if first else violation, hint)


def _moved(violation: Violation, first: int) -> Violation:
    """Return a violation in an array with its place in the one that it was cut from."""
    index, slash, rest = violation.pointer[1:].partition("/")
    return replace(violation, pointer=f"/{int(index) + first}{slash}{rest}")


def mended(raw: bytes) -> tuple[bytes, str] | None:
    """Return a SystemEvent as joelclaw's own reader takes it, and what was wrong with it.

    Its services cut texts with `slice`, which may leave half of a character: U+FFFD. `joelclaw
    gateway push` sends any payload and type: an array becomes the member `items`, no text
    UNNAMED. None if nothing of this is wrong.
    """
    try:
        event = json.loads(raw, object_pairs_hook=_each_once)
        wrong = list(_mend(event)) if isinstance(event, dict) else []
        text = json.dumps(event, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if whole != text:
        wrong.append("half of a character")
    return (whole.encode(), ", ".join(wrong)) if wrong else None


def _mend(event: dict[str, Any]) -> Iterator[str]:
    if isinstance(payload := event.get("payload"), list):
        event["payload"] = {"items": payload}
        yield "an array for payload"
    for name in ("type", "source"):
        if event.get(name) == "":
            event[name] = UNNAMED
            yield f"no {name}"


def _each_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a key twice")
    return found


def _unreadable(contract: str, error: BridgeError, raw: bytes | str) -> BridgeError:
    detail = {
        "contract": contract,
        "pointer": "",
        "rule": "json" if error.code == "invalid_frame" else error.code,
        "expected": _bound(error) if error.code == "limit_exceeded" else "JSON",
        "actual": error.message,
        **error.detail,
    }
    start = raw[:8] if isinstance(raw, str) else raw[:8].decode("latin-1")
    instead = next((w for begin, w in _NO_JSON.items() if start.startswith(begin)), "")
    instead = _UNSHARED.get(detail["expected"], instead)
    text = f"{contract}: {error.message}"
    if instead:
        detail["way_out"] = instead
        text = f"{text}. {instead}"
    return BridgeError(error.code, text, **detail)


def _bound(error: BridgeError) -> str:
    limit = error.detail["limit"]
    return f"at most {error.detail['max']} {'levels' if limit == 'depth' else limit}"


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
