"""Compressed terms (tag 80), as ErlPort sends them with `{compressed, 1..9}`. No I/O here."""

from __future__ import annotations

import zlib

from bridge.link.errors import BadTerm
from bridge.link.terms import VERSION


def inflate(frame: bytes, max_bytes: int) -> bytes:
    """Return the frame of the term that a frame `131, 80, Size:32, zlib data` holds.

    Memory grows with what comes out, not with the announced size. Raises BadTerm.
    """
    announced = int.from_bytes(frame[2:6], "big")
    if announced >= max_bytes:
        raise BadTerm(f"a term of at most {max_bytes} bytes", f"{announced} after inflating")
    inflater = zlib.decompressobj()
    try:
        term = inflater.decompress(memoryview(frame)[6:], announced + 1)
    except zlib.error as error:
        raise BadTerm("a compressed term", str(error)) from None
    if len(term) != announced or not inflater.eof:
        raise BadTerm(f"{announced} bytes after inflating", f"{len(term)} and not the same end")
    if inflater.unused_data:
        raise BadTerm("the end of the frame", f"{len(inflater.unused_data)} more bytes")
    return VERSION + term
