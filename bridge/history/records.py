"""What clients record: one JSON object a line, read into values. No I/O here.

| event    | members                                                                          |
|----------|----------------------------------------------------------------------------------|
| `sent`   | at, client, connection, message_id, attempt, topic, operation, request           |
| `told`   | at, client, message_id, attempt, outcome (`ok` or `error`), reply                |
| `joined` | at, client, topic, resumed (a `since` was given, and no gap was said)            |
| `left`   | at, client, topic (also when the socket closed)                                  |
| `pushed` | at, client, topic, type, payload, seq, n                                         |

`at` is in milliseconds of one clock that all clients of a history share; lines are in its order.
`attempt` counts a client's sends of one message, `connection` its sockets (default 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.errors import CODES
from bridge.message import JSON

# Errors that leave it open whether the message was applied; all others say that it was not.
OPEN_CODES = frozenset({"outcome_unknown", "internal"})


class BadRecord(Exception):
    """A line that is no record; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Told:
    at: float
    ok: bool
    reply: JSON

    @property
    def denied(self) -> bool:
        """Say whether the answer promises that this attempt changed nothing."""
        code = self.reply.get("code") if isinstance(self.reply, dict) else None
        return not self.ok and code in CODES and code not in OPEN_CODES


@dataclass(slots=True)
class Attempt:
    """One send of a message; `order` is its line in the history."""

    order: int
    at: float
    client: str
    connection: int
    key: str
    operation: str
    request: JSON
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Pushed:
    at: float
    client: str
    key: str
    type: str
    payload: JSON
    seq: int
    n: int


@dataclass(frozen=True, slots=True)
class Joined:
    at: float
    client: str
    key: str
    resumed: bool


@dataclass(frozen=True, slots=True)
class Left:
    at: float
    client: str
    key: str


@dataclass(slots=True)
class History:
    """What was recorded about one subsystem: attempts by message id, and events as they came."""

    asked: dict[str, list[Attempt]] = field(default_factory=dict)
    received: list[Pushed | Joined | Left] = field(default_factory=list)


def read(lines: Iterable[Mapping[str, Any]], subsystem: str) -> History:
    """Read the records about one subsystem; raises BadRecord, naming the line."""
    history = History()
    attempts: dict[tuple[str, str, int], Attempt] = {}
    for order, line in enumerate(lines, start=1):
        try:
            _read_one(history, attempts, order, line, subsystem)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadRecord(f"line {order}: {type(error).__name__}: {error}") from error
    return history


def _read_one(
    history: History,
    attempts: dict[tuple[str, str, int], Attempt],
    order: int,
    line: Mapping[str, Any],
    subsystem: str,
) -> None:
    event, at, client = line["event"], float(line["at"]), str(line["client"])
    if event == "told":
        name = (client, line["message_id"], int(line["attempt"]))
        told = Told(at, line["outcome"] == "ok", line["reply"])
        if name in attempts:  # else it is about another subsystem
            attempts[name].told = attempts[name].told or told
        return
    owner, _, key = line["topic"].partition(":")
    if owner != subsystem:
        return
    match event:
        case "sent":
            attempt = Attempt(
                order,
                at,
                client,
                int(line.get("connection", 1)),
                key,
                line["operation"],
                line["request"],
            )
            attempts[client, line["message_id"], int(line["attempt"])] = attempt
            history.asked.setdefault(line["message_id"], []).append(attempt)
        case "pushed":
            history.received.append(
                Pushed(at, client, key, line["type"], line["payload"], line["seq"], line["n"])
            )
        case "joined":
            history.received.append(Joined(at, client, key, bool(line["resumed"])))
        case "left":
            history.received.append(Left(at, client, key))
        case _:
            raise ValueError(f"expected sent, told, joined, left or pushed, got {event!r}")
