"""Give every recorded message its recorded state again, and compare the bytes. No I/O here."""

from __future__ import annotations

import copy
import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from bridge.canonical import canonical, normalise
from bridge.contracts.implementations import Handler
from bridge.history.evidence import Entry, Evidence, Finding
from bridge.history.records import Attempt, History
from bridge.message import JSON, Context, context_for
from bridge.migration import MIGRATED


def check_replay(evidence: Evidence, handler: Handler) -> Iterator[Finding]:
    """Find entries whose reply, effects or state the handler does not give again.

    Whichever runtime committed an entry: implementations of a contract answer the same bytes.
    Those of another version of it are passed over.
    """
    for key, entries in evidence.by_key().items():
        state = evidence.initial_state
        for entry in entries:
            if "migrated" in entry:
                state = entry["migrated"]["state"]
            others = evidence.version not in (None, entry.get("version", 1))
            if others or entry["operation"] == MIGRATED:
                state = entry["state"]
                continue
            try:
                answer = _run(
                    handler,
                    state,
                    entry["operation"],
                    entry["request"],
                    context_of(entry["context"]),
                )
            except Exception as error:  # whatever the handler raises is the finding
                text = f"{entry['operation']} raised {type(error).__name__}: {error}"
                yield Finding("wrong_replay", key, entry["id"], text)
            else:
                yield from _compare(entry, answer)
            state = entry["state"]


def check_queries(
    history: History, evidence: Evidence, handler: Handler, zone: str = "UTC"
) -> Iterator[Finding]:
    """Find query replies that no state explains which could be seen at the time.

    The oldest is that of the last commit acknowledged before the query was sent, the newest
    that of the last commit whose message was sent before the reply came. Only for queries
    that do not look at the clock.
    """
    windows = {key: _Window(entries, history) for key, entries in evidence.by_key().items()}
    for message_id, attempts in history.asked.items():
        for attempt in attempts:
            told = attempt.told
            if told is None or not told.ok or attempt.operation not in evidence.queries:
                continue
            window = windows.get(attempt.key) or _Window([], history)
            states = window.states(attempt.at, told.at, evidence.initial_state)
            if not any(_answers(handler, state, attempt, told.reply, zone) for state in states):
                text = f"{attempt.operation} was told {told.reply!r}, a state not to be seen then"
                yield Finding("wrong_reply", attempt.key, message_id, text)


def context_of(recorded: Mapping[str, Any]) -> Context:
    return Context(**{name: recorded[name] for name in Context._fields})


class _Window:
    """Say which of a key's states could be seen between two times.

    `_sent[n]` is the earliest time at which entry n or a later one was first sent, `_told[n]`
    at which it was acknowledged: both only grow, so places are found by bisection.
    """

    def __init__(self, entries: list[Entry], history: History) -> None:
        self._entries = entries
        sent, told = [], []
        for entry in entries:
            asked = history.asked.get(entry["id"], [])
            sent.append(min((a.at for a in asked), default=-math.inf))  # a timer's: any time
            told.append(min((a.told.at for a in asked if a.told and a.told.ok), default=math.inf))
        self._sent = list(accumulate(reversed(sent), min))[::-1]
        self._told = list(accumulate(reversed(told), min))[::-1]

    def states(self, begin: float, end: float, initial: JSON) -> Iterator[JSON]:
        oldest = bisect_left(self._told, begin)
        newest = max(oldest, bisect_left(self._sent, end))
        for place in range(oldest, newest + 1):
            yield self._entries[place - 1]["state"] if place else initial


def _answers(handler: Handler, state: JSON, attempt: Attempt, reply: JSON, zone: str) -> bool:
    context = context_for("", 0, 0, zone, attempt.key)
    got, _, _ = _run(handler, state, attempt.operation, attempt.request, context)
    return canonical(normalise(got)) == canonical(normalise(reply))


def _run(
    handler: Handler, state: JSON, operation: str, request: JSON, context: Context
) -> tuple[JSON, JSON, JSON]:
    return handler(copy.deepcopy(state), operation, copy.deepcopy(request), context)


def _compare(entry: Entry, answer: tuple[JSON, JSON, JSON]) -> Iterator[Finding]:
    for name, value in zip(("reply", "effects", "state"), answer, strict=True):
        recorded, again = canonical(entry[name]), canonical(normalise(value))
        if recorded != again:
            text = (
                f"{entry['operation']} by {entry['runtime']}: recorded {name} "
                f"{_around(recorded, again)}, replayed {_around(again, recorded)}"
            )
            yield Finding("wrong_replay", entry["key"], entry["id"], text)


def _around(text: bytes, other: bytes) -> str:
    """Return the 40 bytes around the first difference."""
    place = bisect_left(
        range(len(text)), True, key=lambda end: text[: end + 1] != other[: end + 1]
    )
    return text[max(0, place - 20) : place + 20].decode("utf-8", "replace")
