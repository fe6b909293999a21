"""What clients ask on a topic, judged: names, positions, requests, how much at once. No I/O here.

Every edge judges by these: the sockets of a worker and, over the link, those of a Phoenix node.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import NamedTuple

from bridge.canonical import canonical, json_type
from bridge.errors import BridgeError
from bridge.message import JSON, RUNTIMES, RuntimeName

MESSAGE_ID = re.compile(r"[A-Za-z0-9._:/-]{1,100}", re.ASCII)
MAX_SINCE_CHARACTERS = 100
MAX_ID_CHARACTERS = 200
MAX_META_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one socket may have at once."""

    max_topics: int
    max_in_flight: int
    max_bytes: int

    def check_topics(self, joined: int) -> None:
        """Raise BridgeError if a socket with so many topics may not join another one."""
        if joined >= self.max_topics:
            raise BridgeError(
                "limit_exceeded",
                f"one socket may join {self.max_topics} topics",
                limit=self.max_topics,
                actual=joined + 1,
            )

    def busy(self, in_flight: int, in_flight_bytes: int, size: int) -> BridgeError | None:
        """Say why a push of so many bytes is one too many, beside those without an answer."""
        if in_flight >= self.max_in_flight:
            return BridgeError(
                "overloaded",
                f"{in_flight} pushes of this socket wait for their answer",
                queue="in_flight",
                limit=self.max_in_flight,
            )
        if in_flight and in_flight_bytes + size > self.max_bytes:
            return BridgeError(
                "overloaded",
                "the unanswered pushes of this socket are too large together",
                queue="in_flight_bytes",
                limit=self.max_bytes,
            )
        return None


class Request(NamedTuple):
    """What a push asks for."""

    operation: str
    request: JSON
    message_id: str  # "" if the client gave none
    runtime: RuntimeName | None
    binary: bool


def split_topic(topic: str) -> tuple[str, str]:
    """Return subsystem and key. Raises BridgeError `unknown_topic`."""
    subsystem, colon, key = topic.partition(":")
    if not colon:
        raise BridgeError(
            "unknown_topic", "a topic is `subsystem:key`", expected="subsystem:key", actual=topic
        )
    return subsystem, key


def since_of(payload: JSON | bytes) -> str | None:
    """Return where a join's events begin, None for now. Raises BridgeError `invalid_request`."""
    since = payload.get("since") if type(payload) is dict else None
    if since is None or (type(since) is str and len(since) <= MAX_SINCE_CHARACTERS):
        return since or None
    raise BridgeError(
        "invalid_request",
        "/since: expected the position of an earlier join or event",
        pointer="/since",
        expected=f"a string of up to {MAX_SINCE_CHARACTERS}",
        actual=json_type(since),
    )


class Presence(NamedTuple):
    """How a client is to be seen by others on a topic."""

    id: str
    meta: dict[str, JSON]


def presence_of(payload: JSON | bytes) -> Presence | None:
    """Return who joins, None if it does not say so. Raises BridgeError `invalid_request`."""
    given = payload.get("presence") if type(payload) is dict else None
    if given is None:
        return None
    if type(given) is not dict or given.keys() - {"id", "meta"}:
        raise _no_presence("", "an object of `id` and `meta`", given)
    id, meta = given.get("id"), given.get("meta", {})
    if type(id) is not str or not 1 <= len(id) <= MAX_ID_CHARACTERS:
        raise _no_presence("/id", f"a string of 1 to {MAX_ID_CHARACTERS}", id)
    if type(meta) is not dict or len(canonical(meta)) > MAX_META_BYTES or "phx_ref" in meta:
        raise _no_presence("/meta", f"an object of up to {MAX_META_BYTES} bytes", meta)
    return Presence(id, meta)


def _no_presence(at: str, expected: str, actual: JSON) -> BridgeError:
    return BridgeError(
        "invalid_request",
        f"/presence{at}: expected {expected}",
        pointer=f"/presence{at}",
        expected=expected,
        actual=json_type(actual),
    )


def request_of(event: str, payload: JSON | bytes) -> Request:
    """Return what a push of this event and payload asks for; takes the bridge's own members out.

    Raises BridgeError `invalid_frame` or `invalid_request`.
    """
    if type(payload) is bytes:
        request = {"base64": base64.b64encode(payload).decode()}
        return Request(event, request, "", None, True)
    if type(payload) is not dict:
        raise BridgeError(
            "invalid_frame",
            f"the payload of {event} is the request",
            pointer="",
            expected="object",
            actual=json_type(payload),
        )
    return Request(event, payload, _message_id(payload), _runtime(payload), False)


def _message_id(payload: dict[str, JSON]) -> str:
    """Take the reserved member `message_id` out of a request."""
    if "message_id" not in payload:
        return ""
    message_id = payload.pop("message_id")
    if type(message_id) is str and MESSAGE_ID.fullmatch(message_id):
        return message_id
    raise BridgeError(
        "invalid_request",
        "/message_id: expected 1 to 100 of A-Z a-z 0-9 . _ : / -",
        pointer="/message_id",
        expected=MESSAGE_ID.pattern,
        actual=json_type(message_id),
    )


def _runtime(payload: dict[str, JSON]) -> RuntimeName | None:
    """Take the reserved member `runtime` out of a request."""
    if "runtime" not in payload:
        return None
    runtime = payload.pop("runtime")
    for name in RUNTIMES:
        if runtime == name:
            return name
    raise BridgeError(
        "invalid_request",
        f"/runtime: expected one of {', '.join(RUNTIMES)}",
        pointer="/runtime",
        expected=list(RUNTIMES),
        actual=json_type(runtime),
    )
