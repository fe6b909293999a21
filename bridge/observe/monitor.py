"""Lines of Redis's MONITOR, as the commands they show. No I/O here.

A line is `1339518083.107412 [0 127.0.0.1:60866] "LPUSH" "key" "value"`, in the order of
execution; what a script called has `lua` in place of the client's address. Arguments are written
as `sdscatrepr` (sds.c) does: quote and backslash after a backslash, control characters as in C,
every other byte that is not printable ASCII as two hex digits.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LUA = "lua"
PREFIX = b"joelclaw:"

# What empties a database names no key of it.
_FLUSH = re.compile(rb'\] "(?:flushall|flushdb|swapdb)"', re.IGNORECASE)
_LONGEST_FLUSH = 120
_ARGUMENT = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"')


class Command(NamedTuple):
    """One executed command. `name` is in capitals, `client` an address or `lua`."""

    at_ms: int
    db: int
    client: str
    name: str
    args: tuple[bytes, ...]


def concerns(line: bytes) -> bool:
    """Say whether a line may be about joelclaw's keys; most are not, and cost no more."""
    return PREFIX in line or (len(line) < _LONGEST_FLUSH and _FLUSH.search(line) is not None)


def at_ms_of(line: bytes) -> int | None:
    """Return the server's time of a line, None if it is no line of MONITOR."""
    dot = line.find(b".", 0, 20)
    micros = line[dot + 1 : dot + 7]
    if dot < 1 or len(micros) < 6 or not (line[:dot].isdigit() and micros.isdigit()):
        return None
    return int(line[:dot]) * 1000 + int(micros[:3])


def parse(line: bytes) -> Command | None:
    """Return the command of a line without its `+` and line end, None if it shows none."""
    head, middle, rest = line.partition(b'] "')
    at_ms = at_ms_of(line)
    opened = head.find(b" [")
    if not middle or opened < 0 or at_ms is None:
        return None
    db, blank, client = head[opened + 2 :].partition(b" ")
    words = _words(rest)
    if not (blank and db.isdigit() and words):
        return None
    name, *args = words
    return Command(at_ms, int(db), client.decode(errors="replace"), _name(name), tuple(args))


def _words(rest: bytes) -> list[bytes]:
    """Split what follows the first quotation mark."""
    if b"\\" not in rest:
        return rest[:-1].split(b'" "') if rest.endswith(b'"') else []
    return [_plain(word) for word in _ARGUMENT.findall(b'"' + rest)]


def _plain(word: bytes) -> bytes:
    if b"\\" not in word:
        return word
    # Python's escapes are C's and more; what begins one is never written bare.
    return word.decode("unicode_escape").encode("latin-1")


def _name(word: bytes) -> str:
    return word.decode("latin-1").upper()
