"""Read Erlang's external term format: linear, bounded, strict. No I/O here."""

from __future__ import annotations

import math
from struct import Struct
from struct import error as StructError
from typing import Any

from bridge.bounds import MAX_SAFE_INTEGER
from bridge.link.compression import inflate
from bridge.link.errors import BadTerm
from bridge.link.terms import (
    ATOM,
    ATOM_TAGS,
    ATOM_UTF8,
    BINARY,
    DEFAULT_LIMITS,
    FLOAT,
    INTEGER,
    LARGE_BIG,
    LARGE_TUPLE,
    LIST,
    MAP,
    NEW_FLOAT,
    NIL,
    OPAQUE,
    SMALL_ATOM,
    SMALL_ATOM_UTF8,
    SMALL_BIG,
    SMALL_INTEGER,
    SMALL_TUPLE,
    STRING,
    VERSION,
    Atom,
    Limits,
    Opaque,
    describe,
)

_CONSTANTS = {b"true": True, b"false": False, b"nil": None, b"undefined": None}

# Lets tag and length be read in one step anywhere; 0 is no tag.
_AFTER_END = bytes(8)

_u16 = Struct(">H").unpack_from
_u32 = Struct(">I").unpack_from
_tag_u32 = Struct(">BI").unpack_from
_i32 = Struct(">i").unpack_from
_f64 = Struct(">d").unpack_from


class TermReader:
    """Read the parts of one external term, first to last; `finish` refuses what is left over.

    Every method raises BadTerm. `frame` starts with the version byte and may be compressed.
    """

    __slots__ = ("_elements", "_end", "at", "data", "depth")

    def __init__(self, frame: bytes, limits: Limits = DEFAULT_LIMITS) -> None:
        if frame[:1] != VERSION:
            raise BadTerm("version 131", str(frame[0]) if frame else "an empty frame")
        if len(frame) > limits.max_bytes:
            raise BadTerm(f"a term of at most {limits.max_bytes} bytes", f"{len(frame)}")
        if frame[1:2] == b"P":
            frame = inflate(frame, limits.max_bytes)
        self.data = frame + _AFTER_END
        self._end = len(frame)
        self._elements = limits.max_elements
        self.depth = limits.max_depth
        self.at = 1

    def tuple_size(self) -> int:
        """Read the head of a tuple, the first thing in a frame."""
        data, at = self.data, self.at
        if data[at] == SMALL_TUPLE:
            self.at = at + 2
            return data[at + 1]
        if data[at] == LARGE_TUPLE:
            self.at = at + 5
            return int(_u32(data, at + 1)[0])
        raise BadTerm("a tuple", describe(data[at]))

    def atom(self) -> str:
        """Read an atom's text."""
        data, at = self.data, self.at
        if data[at : at + 1] == b"w":  # SMALL_ATOM_UTF8, as most are
            end = at + 2 + data[at + 1]
            name = data[at + 2 : end]
            if name.isascii() and end <= self._end:
                self.at = end
                return name.decode()
        return str(self.read(_ATOMS))

    def integer(self) -> int:
        """Read an integer of any size."""
        return int(self.read(_INTEGERS))

    def json(self) -> Any:
        """Read a JSON value."""
        return self.read(_JSON)

    def term(self) -> Any:
        """Read a JSON value, an atom, an opaque term, or lists and tuples of these."""
        return self.read(TERM)

    def result(self) -> Any:
        """Read a JSON value or an atom."""
        return self.read(_RESULT)

    def finish(self) -> None:
        """Refuse a term that is shorter or longer than its frame."""
        if self.at > self._end:
            raise _truncated()
        if self.at < self._end:
            raise BadTerm("the end of the frame", f"{self._end - self.at} more bytes")

    def spend(self, elements: int, depth: int) -> None:
        """Count a container's members before reading them."""
        self._elements -= elements
        if self._elements < 0:
            raise BadTerm("fewer members in all", f"{elements} more than the limit leaves")
        if depth >= self.depth:
            raise BadTerm(f"at most {self.depth} levels", "one more")

    def read(self, table: Table) -> Any:
        """Read a term by its tag."""
        try:
            value, self.at = table[self.data[self.at]](self.data, self.at + 1, 0, self)
        except UnicodeDecodeError as error:
            raise BadTerm("UTF-8", f"byte 0x{error.object[error.start]:02x}") from None
        except (IndexError, StructError):
            raise _truncated() from None
        # A slice over the end is short, not an error; so the end is looked at once, here.
        if self.at > self._end:
            raise _truncated()
        return value


def decode(frame: bytes, limits: Limits = DEFAULT_LIMITS) -> Any:
    """Return the one term of a frame; what it may be is said at `TermReader.term`."""
    reader = TermReader(frame, limits)
    value = reader.term()
    reader.finish()
    return value


class Table(dict[int, Any]):
    """Readers by tag. Each takes the bytes, the place after the tag, depth and reader."""

    def __init__(self, expected: str, readers: dict[int, Any]) -> None:
        super().__init__(readers)
        self._expected = expected

    def __missing__(self, tag: int) -> Any:
        raise BadTerm(self._expected, describe(tag))


def _small_integer(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[int, int]:
    return data[at], at + 1


def _integer(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[int, int]:
    return _i32(data, at)[0], at + 4


def _small_big(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[int, int]:
    return _big(data, at + 1, data[at])


def _large_big(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[int, int]:
    return _big(data, at + 4, _u32(data, at)[0])


def _big(data: bytes, at: int, size: int) -> tuple[int, int]:
    value = int.from_bytes(data[at + 1 : at + 1 + size], "little")
    return (-value if data[at] else value), at + 1 + size


def _small_big_json(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[int, int]:
    # Milliseconds since 1970 come this way, so it is not made of the functions above.
    end = at + 2 + data[at]
    value = int.from_bytes(data[at + 2 : end], "little")
    if value > MAX_SAFE_INTEGER:
        raise _too_long(value)
    return (-value if data[at + 1] else value), end


def _large_big_json(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[int, int]:
    value, end = _large_big(data, at, depth, reader)
    if abs(value) > MAX_SAFE_INTEGER:
        raise _too_long(value)
    return value, end


def _too_long(value: int) -> BadTerm:
    return BadTerm("an integer within ±(2^53-1)", f"one of {value.bit_length()} bits")


def _float(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[float, int]:
    (value,) = _f64(data, at)
    if not math.isfinite(value):
        raise BadTerm("a finite number", str(value))
    return value, at + 8


def _float_text(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[float, int]:
    """Read FLOAT_EXT, what minor version 0 writes: 31 characters, as by `%.20e`."""
    text = data[at : at + 31].rstrip(b"\0")
    try:
        value = float(text)
    except ValueError:
        raise BadTerm("a float as text", repr(text[:31])) from None
    if not math.isfinite(value):
        raise BadTerm("a finite number", str(value))
    return value, at + 31


def _binary(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[str, int]:
    end = at + 4 + _u32(data, at)[0]
    return data[at + 4 : end].decode(), end


def _bytes_list(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[list[int], int]:
    (size,) = _u16(data, at)
    reader.spend(size, depth)
    return list(data[at + 2 : at + 2 + size]), at + 2 + size


def _empty_list(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[list[Any], int]:
    reader.spend(0, depth)
    return [], at


def _list_of(table: Table, data: bytes, at: int, depth: int, reader: TermReader) -> Any:
    (size,) = _u32(data, at)
    reader.spend(size, depth)
    items, at = _items(table, size, data, at + 4, depth + 1, reader)
    if data[at] != NIL:
        raise BadTerm("a list that ends in []", f"a tail that is {describe(data[at])}")
    return items, at + 1


def _items(
    table: Table, size: int, data: bytes, at: int, depth: int, reader: TermReader
) -> tuple[list[Any], int]:
    items: list[Any] = []
    add = items.append
    for _ in range(size):
        tag, length = _tag_u32(data, at)
        if tag == BINARY:
            start = at + 5
            at = start + length
            add(data[start:at].decode())
        else:
            item, at = table[tag](data, at + 1, depth, reader)
            add(item)
    return items, at


def _list_json(data: bytes, at: int, depth: int, reader: TermReader) -> Any:
    return _list_of(_JSON, data, at, depth, reader)


def _list_term(data: bytes, at: int, depth: int, reader: TermReader) -> Any:
    return _list_of(TERM, data, at, depth, reader)


def _map(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[dict[str, Any], int]:
    (size,) = _u32(data, at)
    reader.spend(size, depth)
    at += 4
    depth += 1
    members: dict[str, Any] = {}
    for _ in range(size):
        tag, length = _tag_u32(data, at)
        if tag != BINARY:
            raise BadTerm("a map key that is a binary", describe(tag))
        start = at + 5
        at = start + length
        key = data[start:at].decode()
        tag, length = _tag_u32(data, at)
        # The two commonest kinds are read here: a call each would double the cost of a map.
        if tag == BINARY:
            start = at + 5
            at = start + length
            members[key] = data[start:at].decode()
        elif tag == SMALL_INTEGER:
            members[key] = data[at + 1]
            at += 2
        else:
            members[key], at = _JSON[tag](data, at + 1, depth, reader)
    if len(members) != size:
        raise BadTerm("each map key once", f"{size - len(members)} twice")
    return members, at


def _small_tuple(data: bytes, at: int, depth: int, reader: TermReader) -> Any:
    return _tuple(data, at + 1, data[at], depth, reader)


def _large_tuple(data: bytes, at: int, depth: int, reader: TermReader) -> Any:
    return _tuple(data, at + 4, _u32(data, at)[0], depth, reader)


def _tuple(data: bytes, at: int, size: int, depth: int, reader: TermReader) -> Any:
    reader.spend(size, depth)
    if size == 3 and data.startswith(OPAQUE_HEADS, at):
        return opaque(data, at)
    items, at = _items(TERM, size, data, at, depth + 1, reader)
    return tuple(items), at


def opaque(data: bytes, at: int) -> tuple[Opaque, int]:
    """Read the rest of `{'$erlport.opaque', Language, Bin}`; Bin is any bytes, never loaded."""
    _, at = _atom_name(data, at + 1, data[at])
    if data[at] not in ATOM_TAGS:
        raise BadTerm("an atom for an opaque term's language", describe(data[at]))
    language, at = _atom_name(data, at + 1, data[at])
    if data[at] != BINARY:
        raise BadTerm("an opaque term's binary", describe(data[at]))
    end = at + 5 + _u32(data, at + 1)[0]
    return Opaque(Atom(language.decode()), data[at + 5 : end]), end


def _atom_name(data: bytes, at: int, tag: int) -> tuple[bytes, int]:
    """Return an atom's text as UTF-8."""
    if tag in (SMALL_ATOM_UTF8, SMALL_ATOM):
        end = at + 1 + data[at]
        name = data[at + 1 : end]
    else:
        end = at + 2 + _u16(data, at)[0]
        name = data[at + 2 : end]
    if tag in (ATOM, SMALL_ATOM):
        name = name.decode("latin-1").encode()
    if len(name) > 255 and len(name.decode()) > 255:
        raise BadTerm("an atom of at most 255 characters", f"{len(name)} bytes")
    return name, end


def _constant(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[bool | None, int]:
    end = at + 1 + data[at]
    name = data[at + 1 : end]
    if name not in _CONSTANTS:
        raise _no_constant(name)
    return _CONSTANTS[name], end


def _long_constant(
    data: bytes, at: int, depth: int, reader: TermReader
) -> tuple[bool | None, int]:
    end = at + 2 + _u16(data, at)[0]
    name = data[at + 2 : end]
    if name not in _CONSTANTS:
        raise _no_constant(name)
    return _CONSTANTS[name], end


def _no_constant(name: bytes) -> BadTerm:
    return BadTerm("a JSON value", f"the atom {name[:64].decode(errors='replace')!r}")


def _atom_term(tag: int) -> Any:
    def read(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[Any, int]:
        name, end = _atom_name(data, at, tag)
        return (_CONSTANTS[name] if name in _CONSTANTS else Atom(name.decode())), end

    return read


def _atom_text(tag: int) -> Any:
    def read(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[str, int]:
        name, end = _atom_name(data, at, tag)
        return name.decode(), end

    return read


def _truncated() -> BadTerm:
    return BadTerm("more bytes", "the end of the frame")


# Whatever the tag of the atom, its text follows one or two bytes of length.
OPAQUE_HEADS = tuple(
    head + OPAQUE.encode() for head in (b"w\x0f", b"s\x0f", b"d\0\x0f", b"v\0\x0f")
)
_ATOMS = Table("an atom", {tag: _atom_text(tag) for tag in ATOM_TAGS})
_INTEGERS = Table(
    "an integer",
    {
        SMALL_INTEGER: _small_integer,
        INTEGER: _integer,
        SMALL_BIG: _small_big,
        LARGE_BIG: _large_big,
    },
)
_JSON = Table(
    "a JSON value",
    {
        SMALL_INTEGER: _small_integer,
        INTEGER: _integer,
        SMALL_BIG: _small_big_json,
        LARGE_BIG: _large_big_json,
        NEW_FLOAT: _float,
        FLOAT: _float_text,
        BINARY: _binary,
        STRING: _bytes_list,
        NIL: _empty_list,
        LIST: _list_json,
        MAP: _map,
        SMALL_ATOM: _constant,
        SMALL_ATOM_UTF8: _constant,
        ATOM: _long_constant,
        ATOM_UTF8: _long_constant,
    },
)
_RESULT = Table("a JSON value or an atom", _JSON | {tag: _atom_term(tag) for tag in ATOM_TAGS})
TERM = Table(
    "a JSON value, an atom or a tuple",
    {
        **_JSON,
        SMALL_BIG: _small_big,
        LARGE_BIG: _large_big,
        LIST: _list_term,
        SMALL_TUPLE: _small_tuple,
        LARGE_TUPLE: _large_tuple,
    }
    | {tag: _atom_term(tag) for tag in ATOM_TAGS},
)
