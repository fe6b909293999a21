"""Inngest's events in a body: by what a repeat is known, and their bytes. No I/O here."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.canonical import digest
from bridge.message import derived_id


def message_id(event: Mapping[str, Any], seed: str, index: int) -> str:
    """Return the id by which a repeat of this event is known, "" if nothing tells one.

    That is its `id` (with its name: Inngest, too, holds it per function), else the sender's seed
    and the event's place. A seed that Inngest would not take (`<ms>,<10 bytes in base64>`) is
    none: it may be the same in every request.
    """
    if event.get("id"):
        return derived_id("inngest", digest([event["name"], event["id"]]))
    return derived_id("inngest", digest([seed, index])) if _is_seed(seed) else ""


def _is_seed(seed: str) -> bool:
    ms, _, entropy = seed.partition(",")
    try:
        return int(ms) > 0 and len(base64.b64decode(entropy, validate=True)) == 10
    except (ValueError, binascii.Error):
        return False


def part_of(body: bytes, wanted: Sequence[int]) -> bytes:
    """Return the array with these items only, each as it was written."""
    text, items = body.decode(), []
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    while True:
        at = _past_space(text, at)
        _, end = decoder.raw_decode(text, at)
        items.append(text[at:end])
        at = _past_space(text, end)
        if text[at] == "]":
            return f"[{','.join(items[n] for n in wanted)}]".encode()
        at += 1


def _past_space(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at
