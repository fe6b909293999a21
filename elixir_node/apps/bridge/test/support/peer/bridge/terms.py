"""As much of the external term format as a test needs. No I/O here."""

from __future__ import annotations

import struct
from typing import Any


class Atom(str):
    """An Erlang atom."""

    __slots__ = ()


NAMES: dict[str, Any] = {"true": True, "false": False, "nil": None, "undefined": None}


def dumps(term: Any) -> bytes:
    """Write a term with its version byte."""
    return b"\x83" + _write(term)


def _write(term: Any) -> bytes:
    match term:
        case Atom():
            return b"w" + bytes([len(term)]) + term.encode()
        case True | False | None:
            return _write(Atom("nil" if term is None else str(term).lower()))
        case int() if 0 <= term < 256:
            return bytes([97, term])
        case int() if -(2**31) <= term < 2**31:
            return struct.pack(">Bi", 98, term)
        case int():
            size = (abs(term).bit_length() + 7) // 8
            return bytes([110, size, term < 0]) + abs(term).to_bytes(size, "little")
        case float():
            return struct.pack(">Bd", 70, term)
        case str():
            return _write(term.encode())
        case bytes():
            return struct.pack(">BI", 109, len(term)) + term
        case tuple():
            return bytes([104, len(term)]) + b"".join(map(_write, term))
        case []:
            return b"j"
        case list():
            return struct.pack(">BI", 108, len(term)) + b"".join(map(_write, term)) + b"j"
        case dict():
            members = b"".join(_write(k) + _write(v) for k, v in term.items())
            return struct.pack(">BI", 116, len(term)) + members
    raise TypeError(type(term).__name__)


def loads(data: bytes) -> Any:
    """Read a term with its version byte; binaries become text where they are UTF-8."""
    term, _ = _read(data, 1)
    return term


def _read(data: bytes, at: int) -> tuple[Any, int]:
    tag, at = data[at], at + 1
    match tag:
        case 97:
            return data[at], at + 1
        case 98:
            return struct.unpack_from(">i", data, at)[0], at + 4
        case 110:
            end = at + 2 + data[at]
            number = int.from_bytes(data[at + 2 : end], "little")
            return -number if data[at + 1] else number, end
        case 70:
            return struct.unpack_from(">d", data, at)[0], at + 8
        case 100 | 118:
            end = at + 2 + int.from_bytes(data[at : at + 2])
            return _atom(data[at + 2 : end]), end
        case 115 | 119:
            end = at + 1 + data[at]
            return _atom(data[at + 1 : end]), end
        case 107:
            end = at + 2 + int.from_bytes(data[at : at + 2])
            return list(data[at + 2 : end]), end
        case 109:
            end = at + 4 + int.from_bytes(data[at : at + 4])
            return _text(data[at + 4 : end]), end
        case 106:
            return [], at
        case 104:
            items, at = _read_many(data, at + 1, data[at])
            return tuple(items), at
        case 108:
            items, at = _read_many(data, at + 4, int.from_bytes(data[at : at + 4]))
            return items, at + 1
        case 116:
            items, at = _read_many(data, at + 4, 2 * int.from_bytes(data[at : at + 4]))
            return dict(zip(items[::2], items[1::2], strict=True)), at
    raise ValueError(f"tag {tag}")


def _read_many(data: bytes, at: int, count: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(count):
        item, at = _read(data, at)
        items.append(item)
    return items, at


def _atom(name: bytes) -> Any:
    text = name.decode()
    return NAMES[text] if text in NAMES else Atom(text)


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
