"""Erlang's external term format: JSON values, atoms, and the tuples of envelopes. No I/O here.

https://www.erlang.org/doc/apps/erts/erl_ext_dist.html. Object = map with binary keys, array =
list, string = UTF-8 binary, null = `nil` (`undefined` is taken too). Reading is linear in the
bytes that came; no announced size reserves memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from bridge.bounds import MAX_DEPTH, MAX_SAFE_INTEGER
from bridge.link.errors import BadValue

# A JSON value may have 64 levels; a call wraps it in its arguments, a map and a member.
MAX_TERM_DEPTH: Final = MAX_DEPTH + 8

ATOM, SMALL_ATOM, ATOM_UTF8, SMALL_ATOM_UTF8 = 100, 115, 118, 119
SMALL_INTEGER, INTEGER, SMALL_BIG, LARGE_BIG, NEW_FLOAT = 97, 98, 110, 111, 70
FLOAT = 99
BINARY, STRING, LIST, NIL, MAP = 109, 107, 108, 106, 116
SMALL_TUPLE, LARGE_TUPLE, COMPRESSED = 104, 105, 80

ATOM_TAGS = frozenset((ATOM, SMALL_ATOM, ATOM_UTF8, SMALL_ATOM_UTF8))
_NAMES = {
    ATOM: "an atom",
    SMALL_ATOM: "an atom",
    ATOM_UTF8: "an atom",
    SMALL_ATOM_UTF8: "an atom",
    SMALL_INTEGER: "an integer",
    INTEGER: "an integer",
    SMALL_BIG: "an integer",
    LARGE_BIG: "an integer",
    NEW_FLOAT: "a float",
    FLOAT: "a float as text",
    BINARY: "a binary",
    STRING: "a list of bytes",
    LIST: "a list",
    NIL: "an empty list",
    MAP: "a map",
    SMALL_TUPLE: "a tuple",
    LARGE_TUPLE: "a tuple",
    COMPRESSED: "a compressed term",
    77: "a bit string",
    88: "a pid",
    103: "a pid",
    89: "a port",
    102: "a port",
    120: "a port",
    90: "a reference",
    101: "a reference",
    114: "a reference",
    112: "a fun",
    113: "a fun",
    117: "a fun",
    0: "the end of the frame",
}
_pack_size = Struct(">BI").pack
_pack_int = Struct(">Bi").pack
_pack_float = Struct(">Bd").pack


def describe(tag: int) -> str:
    return f"{_NAMES.get(tag, 'an unknown term')} (tag {tag})"


class Atom(str):
    """An atom that is no JSON constant; equal to its text, but never JSON."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Atom({str.__repr__(self)})"


@dataclass(frozen=True, slots=True)
class Opaque:
    """A foreign term as ErlPort carries it, to be handed back unchanged.

    Of the language `erlang` the data are the term's own bytes.
    """

    language: Atom
    data: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """What one term may take: bytes after inflating, levels, members of all its containers."""

    max_bytes: int = 4_194_304
    max_depth: int = MAX_TERM_DEPTH
    max_elements: int = 262_144


VERSION: Final = b"\x83"  # the first byte of every term
DEFAULT_LIMITS: Final = Limits()
OPAQUE: Final = Atom("$erlport.opaque")
ERLANG: Final = Atom("erlang")


def encode(term: Any) -> bytes:
    """Return a frame's bytes of what `TermReader.term` reads. Raises BadValue."""
    parts = [VERSION]
    put_term(term, parts)
    return b"".join(parts)


def put_term(term: Any, parts: list[bytes], depth: int = 0) -> None:
    """Append the bytes of what `any_terms` reads. Raises BadValue for anything else."""
    kind = type(term)
    if kind is Atom:
        parts.append(atom_bytes(term))
    elif kind is bytes:
        parts += (_pack_size(BINARY, len(term)), term)
    elif kind is int:
        put_integer(term, parts)
    elif kind is Opaque:
        data = term.data
        if term.language == ERLANG:  # it is the BEAM's own again: as it was
            parts.append(data)
        else:
            head = b"h\3" + atom_bytes(OPAQUE) + atom_bytes(term.language)
            parts += (head, _pack_size(BINARY, len(data)), data)
    elif kind is dict or kind is tuple or (kind is list and term):
        if depth >= MAX_TERM_DEPTH:
            raise _too_deep()
        if kind is dict:
            parts.append(_pack_size(MAP, len(term)))
        elif kind is list:
            parts.append(_pack_size(LIST, len(term)))
        elif len(term) < 256:
            parts.append(bytes((SMALL_TUPLE, len(term))))
        else:
            parts.append(_pack_size(LARGE_TUPLE, len(term)))
        for item in term:
            put_term(item, parts, depth + 1)
            if kind is dict:
                put_term(term[item], parts, depth + 1)
        if kind is list:
            parts.append(b"j")
    else:
        put_json(term, parts, depth)


def put_integer(value: int, parts: list[bytes]) -> None:
    """Append the bytes of an integer of any size."""
    if 0 <= value <= 255:
        parts.append(_SMALL[value])
    elif -(2**31) <= value < 2**31:
        parts.append(_pack_int(INTEGER, value))
    else:
        digits = abs(value).to_bytes((value.bit_length() + 7) // 8, "little")
        size = len(digits)
        head = bytes((SMALL_BIG, size)) if size < 256 else _pack_size(LARGE_BIG, size)
        parts += (head, b"\1" if value < 0 else b"\0", digits)


def put_json(value: Any, parts: list[bytes], depth: int = 0) -> None:
    """Append the bytes of a JSON value. Raises BadValue for anything else."""
    kind = type(value)
    if kind is dict:
        _put_map(value, parts, depth)
    elif kind is list:
        _put_list(value, parts, depth)
    elif kind is str:
        text = _utf8(value)
        size = len(text)
        parts.append(_HEADS[size] + text if size < 256 else _pack_size(BINARY, size) + text)
    elif kind is int:
        if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            raise BadValue("an integer within ±(2^53-1)", f"one of {value.bit_length()} bits")
        put_integer(value, parts)
    elif value is None:
        parts.append(_NIL_ATOM)
    elif kind is bool:
        parts.append(_TRUE_ATOM if value else _FALSE_ATOM)
    elif kind is float:
        if not math.isfinite(value):
            raise BadValue("a finite number", str(value))
        parts.append(_pack_float(NEW_FLOAT, value))
    else:
        raise BadValue("a JSON value", kind.__name__)


def _put_list(value: list[Any], parts: list[bytes], depth: int) -> None:
    if depth >= MAX_TERM_DEPTH:
        raise _too_deep()
    if value:
        parts.append(_pack_size(LIST, len(value)))
        for item in value:
            put_json(item, parts, depth + 1)
    parts.append(b"j")


def _put_map(value: dict[Any, Any], parts: list[bytes], depth: int) -> None:
    if depth >= MAX_TERM_DEPTH:
        raise _too_deep()
    add = parts.append
    add(_pack_size(MAP, len(value)))
    try:
        for key, member in value.items():
            if type(key) is not str:
                raise BadValue("a key that is a string", type(key).__name__)
            # Texts are written here: a call each would double the cost of a map.
            text = key.encode()
            size = len(text)
            add(_HEADS[size] + text if size < 256 else _pack_size(BINARY, size) + text)
            if type(member) is str:
                text = member.encode()
                size = len(text)
                add(_HEADS[size] + text if size < 256 else _pack_size(BINARY, size) + text)
            else:
                put_json(member, parts, depth + 1)
    except UnicodeEncodeError:
        raise _not_unicode() from None


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _not_unicode() from None


@lru_cache(maxsize=256)
def atom_bytes(atom: str) -> bytes:
    """Return an atom's bytes; the names a process sends are few."""
    name = _utf8(atom)
    if len(atom) > 255:
        raise BadValue("an atom of at most 255 characters", f"{len(atom)}")
    if len(name) < 256:
        return bytes((SMALL_ATOM_UTF8, len(name))) + name
    return bytes((ATOM_UTF8,)) + len(name).to_bytes(2, "big") + name


def _not_unicode() -> BadValue:
    return BadValue("Unicode text", "a lone surrogate")


def _too_deep() -> BadValue:
    return BadValue(f"at most {MAX_TERM_DEPTH} levels", "one more")


# The heads of short binaries and all small integers, as most are.
_HEADS = [_pack_size(BINARY, size) for size in range(256)]
_SMALL = [bytes((SMALL_INTEGER, value)) for value in range(256)]
_NIL_ATOM, _TRUE_ATOM, _FALSE_ATOM = map(atom_bytes, ("nil", "true", "false"))
