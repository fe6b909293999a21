"""One text for one value: JSON read strictly and written as RFC 8785 bytes. No I/O here."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from typing import Any, NoReturn

import orjson
import rfc8785

from bridge.bounds import MAX_DEPTH, MAX_SAFE_INTEGER
from bridge.errors import BridgeError

# Values and characters of text within one value, counted wherever they stand: what is shared
# counts each time.
MAX_VALUES = 131_072
MAX_TEXT = 4_194_304
SHORT = 64  # characters that are not counted: there are at most as many as values
MAX_SENT_VALUES = 10_000  # in one message of a peer: reading more would hold up everyone else


def parse(text: str | bytes, *, what: str = "text") -> Any:
    """Read JSON; refuse duplicate keys, `__proto__`, NaN, infinities and lone surrogates.

    The value comes back normalised (see `normalise`). Raises BridgeError `invalid_frame` for
    text that is not JSON, else what `normalise` raises.
    """
    return normalise(decode(text, what=what))


def decode(text: str | bytes, *, what: str = "text") -> Any:
    """Read JSON as `parse` does, but leave it to the caller to normalise the parts it keeps.

    A text that orjson writes back byte for byte has each key once and nothing in it that the
    strict decoder refuses; what compact writers send is nearly always such a text.
    """
    try:
        value = orjson.loads(text)
        if orjson.dumps(value) == (text.encode() if isinstance(text, str) else text):
            return value
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass  # the strict decoder says what is wrong, or takes what orjson does not
    return _decode_strictly(text, what)


def _decode_strictly(text: str | bytes, what: str) -> Any:
    try:
        value = _decoder.decode(text if isinstance(text, str) else text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BridgeError(
            "invalid_text",
            f"{what} is not UTF-8: byte {error.start}",
            expected="UTF-8",
            actual=f"byte 0x{error.object[error.start]:02x} at {error.start}",
        ) from None
    except RecursionError:
        raise _too_much(*_LEVELS) from None
    except ValueError as error:
        raise BridgeError(
            "invalid_frame", f"{what} is not JSON: {error}", expected="JSON", actual=str(error)
        ) from None
    return value


def normalise(value: Any, pointer: str = "") -> Any:
    """Return the value every runtime would read: integral floats and -0 become integers.

    Refuses what the three languages do not share: integers beyond 2^53-1, NaN, infinities
    (`invalid_number`), lone surrogates and `__proto__` (`invalid_text`), more than 64
    levels, 131,072 values or 4,194,304 characters (`limit_exceeded`), and anything that is not
    JSON (`invalid_text`). `pointer` is where the value stands in what the error is about.
    """
    try:
        return _normalise(value, 0, [MAX_VALUES, MAX_TEXT])
    except _Odd as odd:
        raise odd.error(pointer) from None


def check_values(text: str, most: int = MAX_SENT_VALUES) -> None:
    """Refuse a JSON text of many values before it is read. Raises BridgeError `limit_exceeded`.

    It counts the marks that begin a value or stand between two: those outside of strings, if
    all together are too many. In text that is no JSON it may count wrongly.
    """
    # What begins with too many is refused without a look at the rest, which may be long.
    for part in (text[: 4 * most], text):
        if _has_more_values(part, most):
            raise BridgeError(
                "limit_exceeded", f"more than {most} values", limit="values", max=most
            )


def _has_more_values(text: str, most: int) -> bool:
    if len(text) <= most or _marks(text) <= most:
        return False
    plain = text.replace("\\\\", "").replace('\\"', "")
    # A member of an object has two strings, of which one is a value.
    return plain.count('"') > 4 * most or _marks("".join(plain.split('"')[::2])) > most


def _marks(text: str) -> int:
    return sum(map(text.count, ",[{"))


class _Odd(Exception):
    """A value to refuse; the way to it is collected while it passes up."""

    def __init__(self, code: str, expected: str, actual: str) -> None:
        super().__init__(code)
        self.code = code
        self.expected = expected
        self.actual = actual
        self.path: list[str] = []

    def error(self, pointer: str) -> BridgeError:
        if self.code == "limit_exceeded":
            return _too_much(self.expected, self.actual)
        pointer += "".join(f"/{escape(token)}" for token in reversed(self.path))
        return _bad(self.code, pointer, self.expected, self.actual)


def _normalise(value: Any, depth: int, left: list[int]) -> Any:
    """Copy a value; `left` is how many values and characters the whole may still have."""
    kind = type(value)
    if kind is str:
        if not value.isascii():
            _check_text(value)
        if len(value) > SHORT:
            _count_text(value, left)
        return value
    if kind is int:
        if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            return value
        raise _Odd(
            "invalid_number", "an integer within ±(2^53-1)", f"one of {value.bit_length()} bits"
        )
    if value is None or kind is bool:
        return value
    if kind is float:
        if not math.isfinite(value):
            raise _Odd("invalid_number", "a finite number", str(value))
        return _normalise(int(value), depth, left) if value.is_integer() else value
    if kind is not dict and kind is not list:
        raise _Odd("invalid_text", "a JSON value", kind.__name__)
    if depth >= MAX_DEPTH:
        raise _Odd("limit_exceeded", *_LEVELS)
    left[0] -= len(value)
    if left[0] < 0:
        raise _Odd("limit_exceeded", *_VALUES)
    if kind is list:
        items: list[Any] = []
        try:
            for item in value:
                items.append(_normalise(item, depth + 1, left))
        except _Odd as odd:
            odd.path.append(str(len(items)))
            raise
        return items
    members = {}
    for key, member in value.items():
        _check_key(key)
        if len(key) > SHORT:
            _count_text(key, left)
        try:
            members[key] = _normalise(member, depth + 1, left)
        except _Odd as odd:
            odd.path.append(key)
            raise
    return members


def _count_text(text: str, left: list[int]) -> None:
    left[1] -= len(text)
    if left[1] < 0:
        raise _Odd("limit_exceeded", *_TEXT)


def _check_key(key: Any) -> None:
    if type(key) is not str:
        raise _Odd("invalid_text", "string keys", type(key).__name__)
    if key == "__proto__":
        raise _Odd("invalid_text", "a key other than __proto__", "__proto__")
    if not key.isascii():
        _check_text(key)


def canonical(value: Any) -> bytes:
    """Return the RFC 8785 bytes of a normalised value.

    orjson writes the same bytes when there is no float and no key beyond the basic plane
    (RFC 8785 sorts keys by UTF-16 units, orjson by UTF-8 bytes); else rfc8785 writes them.
    """
    if _plain(value):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return rfc8785.dumps(value)


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical bytes, as 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def escape(token: str) -> str:
    """Return one reference token of a JSON pointer (RFC 6901, 3)."""
    return token.replace("~", "~0").replace("/", "~1")


def json_type(value: Any) -> str:
    """Return the name JSON Schema has for a value's type."""
    if value is None:
        return "null"
    return {
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "string",
        list: "array",
        dict: "object",
    }.get(type(value), type(value).__name__)


def _plain(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        return all((k.isascii() or max(k) < "\ud800") and _plain(v) for k, v in value.items())
    if kind is list:
        return all(map(_plain, value))
    return kind is not float


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise _bad("invalid_text", "", "each key once", f"{twice!a} twice")
    return members


def _constant(name: str) -> NoReturn:
    raise _bad("invalid_number", "", "a finite number", name)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Odd("invalid_text", "Unicode text", "a lone surrogate") from None


def _bad(code: str, pointer: str, expected: str, actual: str) -> BridgeError:
    # A key that is itself no text must not travel in the answer about it.
    pointer = pointer.encode(errors="replace").decode()
    message = f"{pointer or '(whole value)'}: expected {expected}, got {actual}"
    return BridgeError(code, message, pointer=pointer, expected=expected, actual=actual)


def _too_much(limit: str, what: str) -> BridgeError:
    most = _MOST[limit]
    return BridgeError("limit_exceeded", f"more than {most} {what}", limit=limit, max=most)


# What is limited: its name, and what is counted.
_LEVELS = ("depth", "levels of nesting")
_VALUES = ("values", "values in one")
_TEXT = ("text", "characters of text in one")
_MOST = {"depth": MAX_DEPTH, "values": MAX_VALUES, "text": MAX_TEXT}


def _integer(text: str) -> int:
    if len(text) > 20:  # Python itself refuses numbers of more than 4,300 digits
        raise _bad("invalid_number", "", "an integer within ±(2^53-1)", f"{len(text)} digits")
    return int(text)


_decoder = json.JSONDecoder(
    object_pairs_hook=_members, parse_constant=_constant, parse_int=_integer
)
