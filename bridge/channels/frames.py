"""Phoenix Channels frames, versions 1.0.0 and 2.0.0: bytes to values and back. No I/O here.

Source: `phoenix/assets/js/phoenix/serializer.js` and `Phoenix.Socket.V1/V2.JSONSerializer`.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import NamedTuple

import orjson

from bridge.canonical import check_values, decode, json_type, normalise
from bridge.errors import BridgeError
from bridge.message import JSON

# phoenix.js numbers its refs in strings; other clients send integers. They come back unchanged.
Ref = str | int | None

PUSH, REPLY, BROADCAST = 0, 1, 2
BINARY_KINDS = {PUSH: "push", REPLY: "reply", BROADCAST: "broadcast"}
MAX_REF_CHARACTERS = 100
MAX_NAME_CHARACTERS = 400

# The first three members of a V2 frame, to answer by ref a frame that cannot be read further.
_V2_HEAD = re.compile(
    r'\s*\[\s*(null|-?\d{1,15}|"(?:[^"\\]|\\.){0,100}")'
    r'\s*,\s*(null|-?\d{1,15}|"(?:[^"\\]|\\.){0,100}")'
    r'\s*,\s*("(?:[^"\\]|\\.){0,400}")'
)


class Frame(NamedTuple):
    """One Channels message. `payload` is bytes when the frame was binary.

    A tuple, as all that is made once per message: frozen dataclasses take three times as long.
    """

    join_ref: Ref
    ref: Ref
    topic: str
    event: str
    payload: JSON | bytes


class UnreadableFrame(Exception):
    """A frame that is no Channels message, with as much of its head as could be read."""

    def __init__(
        self, error: BridgeError, join_ref: Ref = None, ref: Ref = None, topic: str = "phoenix"
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.join_ref = join_ref
        self.ref = ref
        self.topic = topic

    @property
    def addressed(self) -> bool:
        """Say whether its sender knows by the answer which frame it is about."""
        return self.ref is not None


class V1:
    """`{"topic", "event", "payload", "ref"}`; clients may send `join_ref`, the server never does.

    As in Phoenix's, whether a frame is text or binary does not matter.
    """

    version = "1.0.0"

    def decode_text(self, text: str) -> Frame:
        try:
            value = _decode(text)
        except BridgeError as error:
            raise UnreadableFrame(error, *_lenient_v1_head(text)) from None
        if type(value) is not dict:
            raise UnreadableFrame(_expected("", "an object (vsn 1.0.0)", json_type(value)))
        missing = [m for m in ("topic", "event", "payload", "ref") if m not in value]
        if missing:
            bad = _expected("", "topic, event, payload and ref", f"no {missing[0]}")
            raise UnreadableFrame(bad, *_v1_head(value))
        return _frame(
            value.get("join_ref"),
            value["ref"],
            value["topic"],
            value["event"],
            value["payload"],
            ("/join_ref", "/ref", "/topic", "/event"),
        )

    def decode_binary(self, data: bytes) -> Frame:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise UnreadableFrame(_not_utf8("a frame")) from None
        return self.decode_text(text)

    def encode(self, frame: Frame) -> bytes:
        return orjson.dumps(
            {
                "topic": frame.topic,
                "event": frame.event,
                "payload": frame.payload,
                "ref": frame.ref,
            }
        )


class V2:
    """`[join_ref, ref, topic, event, payload]`, and the binary layout."""

    version = "2.0.0"

    def decode_text(self, text: str) -> Frame:
        try:
            value = _decode(text)
        except BridgeError as error:
            raise UnreadableFrame(error, *_v2_head(text)) from None
        if type(value) is not list:
            raise UnreadableFrame(_expected("", "an array (vsn 2.0.0)", json_type(value)))
        if len(value) != 5:
            bad = _expected("", "[join_ref, ref, topic, event, payload]", f"{len(value)} members")
            raise UnreadableFrame(bad, *_v2_head(text))
        join_ref, ref, topic, event, payload = value
        return _frame(join_ref, ref, topic, event, payload, ("/0", "/1", "/2", "/3"))

    def decode_binary(self, data: bytes) -> Frame:
        """Read a client's push: 0, four sizes, join_ref, ref, topic, event, payload."""
        if not data or data[0] != PUSH:
            kind = BINARY_KINDS.get(data[0], f"kind {data[0]}") if data else "nothing"
            raise UnreadableFrame(_expected("", "a binary push (first byte 0)", kind))
        if len(data) < 5:
            raise UnreadableFrame(_expected("", "four size bytes", f"{len(data)} bytes in all"))
        ends = [5]
        for size in data[1:5]:
            ends.append(ends[-1] + size)
        if len(data) < ends[4]:
            error = _expected("", f"a header of {ends[4]} bytes", f"{len(data)} bytes in all")
            raise UnreadableFrame(error)
        try:
            join_ref, ref, topic, event = (
                data[start:end].decode() for start, end in itertools.pairwise(ends)
            )
        except UnicodeDecodeError:
            error = _not_utf8("the header of a binary frame")
            raise UnreadableFrame(error) from None
        return Frame(join_ref or None, ref or None, topic, event, bytes(data[ends[4] :]))

    def encode(self, frame: Frame) -> bytes:
        return orjson.dumps([frame.join_ref, frame.ref, frame.topic, frame.event, frame.payload])


CODECS: dict[str, V1 | V2] = {"1": V1(), "2": V2()}
# What Phoenix's requirements `~> 1.0.0` and `~> 2.0.0` match: a semantic version of that minor,
# not before its first release. Numbers have no leading zeros, by Semantic Versioning 2.0.0.
_NUMBER = r"(?:0|[1-9][0-9]*)"
_PART = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VSN = re.compile(
    rf"([12])\.0\.(?:0|[1-9][0-9]*(?:-{_PART}(?:\.{_PART})*)?)"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)


def codec_for(vsn: str) -> V1 | V2:
    """Return the codec of a `vsn` parameter. Raises BridgeError `invalid_frame`."""
    match = _VSN.fullmatch(vsn[:100])
    if match is None:
        raise BridgeError(
            "invalid_frame",
            f"vsn {vsn[:20]!r} is not spoken here",
            expected=[codec.version for codec in CODECS.values()],
            actual=vsn[:20],
        )
    return CODECS[match[1]]


def _decode(text: str) -> JSON:
    check_values(text)
    return decode(text, what="the frame")


def _frame(
    join_ref: JSON,
    ref: JSON,
    topic: JSON,
    event: JSON,
    payload: JSON,
    pointers: tuple[str, str, str, str],
) -> Frame:
    head: tuple[Ref, Ref, str] = (None, None, "phoenix")
    try:
        if _plain(join_ref, ref, topic, event):
            head = (join_ref, ref, topic)
            return Frame(join_ref, ref, topic, event, normalise(payload))
        join_ref, ref = _ref(join_ref, pointers[0]), _ref(ref, pointers[1])
        head = (join_ref, ref, "phoenix")
        topic = _name(topic, pointers[2])
        head = (join_ref, ref, topic)
        return Frame(join_ref, ref, topic, _name(event, pointers[3]), normalise(payload))
    except BridgeError as error:
        raise UnreadableFrame(error, *head) from None


def _plain(join_ref: JSON, ref: JSON, topic: JSON, event: JSON) -> bool:
    """Say whether a head is short ASCII text throughout, as nearly every one is."""
    if type(join_ref) is type(ref) is type(topic) is type(event) is str:
        text = join_ref + ref + topic + event
        return len(text) <= MAX_REF_CHARACTERS and text.isascii()
    return False


def _ref(value: JSON, pointer: str) -> Ref:
    kind = type(value)
    if value is None or (kind is str and len(value) <= MAX_REF_CHARACTERS) or kind is int:
        ref: Ref = normalise(value, pointer)
        return ref
    actual = json_type(value) if kind is not str else f"{len(value)} characters"
    raise _expected(
        pointer, f"null, an integer or a string of up to {MAX_REF_CHARACTERS}", actual
    )


def _name(value: JSON, pointer: str) -> str:
    if type(value) is str and len(value) <= MAX_NAME_CHARACTERS:
        return value if value.isascii() else str(normalise(value, pointer))
    actual = json_type(value) if type(value) is not str else f"{len(value)} characters"
    raise _expected(pointer, f"a string of up to {MAX_NAME_CHARACTERS}", actual)


def _not_utf8(what: str) -> BridgeError:
    return BridgeError(
        "invalid_text", f"{what} is not UTF-8", expected="UTF-8", actual="other bytes"
    )


def _expected(pointer: str, expected: str, actual: str) -> BridgeError:
    return BridgeError(
        "invalid_frame",
        f"{pointer or 'the frame'}: expected {expected}, got {actual}",
        pointer=pointer,
        expected=expected,
        actual=actual,
    )


def _v2_head(text: str) -> tuple[Ref, Ref, str]:
    match = _V2_HEAD.match(text)
    return _checked_head(*(map(json_or_none, match.groups()))) if match else _NO_HEAD


def _lenient_v1_head(text: str) -> tuple[Ref, Ref, str]:
    value = json_or_none(text)
    return _v1_head(value) if type(value) is dict else _NO_HEAD


def _v1_head(value: dict[str, JSON]) -> tuple[Ref, Ref, str]:
    return _checked_head(value.get("join_ref"), value.get("ref"), value.get("topic"))


_NO_HEAD: tuple[Ref, Ref, str] = (None, None, "phoenix")


def _checked_head(join_ref: JSON, ref: JSON, topic: JSON) -> tuple[Ref, Ref, str]:
    """Return a head that can be sent back, or the one of an answer without an address."""
    try:
        return _ref(join_ref, ""), _ref(ref, ""), _name(topic, "")
    except BridgeError:
        return _NO_HEAD


def json_or_none(text: str) -> JSON:
    """Read JSON leniently, for answers to frames that were refused already."""
    try:
        return json.loads(text, parse_int=_small_int)
    except (ValueError, RecursionError):
        return None


def _small_int(text: str) -> int | None:
    return int(text) if len(text) < 20 else None  # Python reads no number of 4,301 digits
