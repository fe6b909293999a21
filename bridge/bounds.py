"""How deep values are, and how large their numbers, wherever they pass. No I/O here."""

from __future__ import annotations

MAX_SAFE_INTEGER = 2**53 - 1
MAX_DEPTH = 64
