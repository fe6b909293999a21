"""Inngest's events in a body: by what a repeat is known, and their bytes. No I/O here."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
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
    items = list(_items(body.decode()))
    return f"[{','.join(items[n] for n in wanted)}]".encode()


def parts_of(body: str, most: int) -> Iterator[str]:
    """Cut an array into arrays of up to so many items, to be read one by one.

    What is no array comes whole; of one that is no JSON, its rest comes as the last part.
    """
    if body.lstrip(SPACE)[:1] != "[":
        yield body
        return
    items = list[str]()
    try:
        for item in _items(body):
            if len(items) == most:
                yield f"[{','.join(items)}]"
                items.clear()
            items.append(item)
    except _Broken as broken:
        # Not ended, and begun as it was: `[1,]` must not become `[1]` and `[]`.
        begun = [*items, broken.rest] if items or not broken.after else ["null", broken.rest]
        yield f"[{','.join(begun)}"
        return
    yield f"[{','.join(items)}]"


class _Broken(Exception):
    def __init__(self, rest: str, after: bool) -> None:
        super().__init__()
        self.rest = rest
        self.after = after  # an item and its comma


def _items(text: str) -> Iterator[str]:
    """Yield the items of an array as they were written. Raises _Broken where it is none."""
    at = _past_space(text, text.index("[") + 1)
    if text[at:].rstrip(SPACE) == "]":
        return
    after_one = False
    while True:
        try:
            _, end = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            raise _Broken(text[at:], after_one) from None
        after = _past_space(text, end)
        mark = text[after : after + 1]
        if mark == "]" and not text[after + 1 :].strip(SPACE):
            yield text[at:end]
            return
        if mark != ",":
            raise _Broken(text[at:], after_one)
        yield text[at:end]
        after_one = True
        at = _past_space(text, after + 1)


def _past_space(text: str, at: int) -> int:
    while text[at : at + 1] in SPACES:
        at += 1
    return at


SPACE = " \t\r\n"
SPACES = frozenset(SPACE)
_decoder = json.JSONDecoder()
