"""Terms as a library's user has them: tuples, bytes, any map, integers of any size. No I/O here.

A binary is a string where it is UTF-8, else bytes; the atoms `true`, `false`, `nil` and
`undefined` are Python's constants, any other is an Atom; what ErlPort wraps, such as a pid, is
Opaque and goes back unchanged. A map's keys are terms that can be hashed.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from bridge.link.errors import BadTerm
from bridge.link.term_reader import OPAQUE_HEADS, TERM, Table, TermReader, opaque
from bridge.link.terms import BINARY, LARGE_TUPLE, LIST, MAP, NIL, SMALL_TUPLE, describe

_u32 = Struct(">I").unpack_from


class AnyTermReader(TermReader):
    """A TermReader whose arguments and results are any terms."""

    __slots__ = ()

    def json(self) -> Any:
        return self.read(ANY_TERM)

    term = result = json


def _binary(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[str | bytes, int]:
    end = at + 4 + int(_u32(data, at)[0])
    found = data[at + 4 : end]
    try:
        return found.decode(), end
    except UnicodeDecodeError:
        return found, end


def _list(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[list[Any], int]:
    items, at = _items(_u32(data, at)[0], data, at + 4, depth, reader)
    if data[at] != NIL:
        raise BadTerm("a list that ends in []", f"a tail that is {describe(data[at])}")
    return items, at + 1


def _small_tuple(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[Any, int]:
    return _tuple(data[at], data, at + 1, depth, reader)


def _large_tuple(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[Any, int]:
    return _tuple(_u32(data, at)[0], data, at + 4, depth, reader)


def _tuple(size: int, data: bytes, at: int, depth: int, reader: TermReader) -> tuple[Any, int]:
    if size == 3 and data.startswith(OPAQUE_HEADS, at):
        reader.spend(size, depth)
        return opaque(data, at)
    items, at = _items(size, data, at, depth, reader)
    return tuple(items), at


def _map(data: bytes, at: int, depth: int, reader: TermReader) -> tuple[dict[Any, Any], int]:
    size = int(_u32(data, at)[0])
    items, at = _items(2 * size, data, at + 4, depth, reader)
    try:
        members = dict(zip(items[::2], items[1::2], strict=True))
    except TypeError as error:
        raise BadTerm("map keys that can be hashed", str(error)) from None
    if len(members) != size:
        raise BadTerm("each map key once", f"{size - len(members)} twice")
    return members, at


def _items(
    size: int, data: bytes, at: int, depth: int, reader: TermReader
) -> tuple[list[Any], int]:
    reader.spend(size, depth)
    items: list[Any] = []
    for _ in range(size):
        item, at = ANY_TERM[data[at]](data, at + 1, depth + 1, reader)
        items.append(item)
    return items, at


ANY_TERM = Table(
    "a term that is no pid, port, reference or fun",
    {
        **TERM,
        BINARY: _binary,
        LIST: _list,
        MAP: _map,
        SMALL_TUPLE: _small_tuple,
        LARGE_TUPLE: _large_tuple,
    },
)
