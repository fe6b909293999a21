"""The golden vectors of the link as one term, for languages that read no JSON. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.link.terms import encode
from bridge.message import JSON


def term_file(documents: Mapping[str, JSON]) -> bytes:
    """Return the external term of vector files, each under its name (`etf/accepted`)."""
    return encode(dict(sorted(documents.items())))
