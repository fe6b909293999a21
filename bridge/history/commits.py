"""Hold what clients sent and were told against the journal, and the journal against itself.

No I/O here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import get_args

from bridge.canonical import canonical, digest, normalise
from bridge.history.evidence import Entry, Evidence, Finding
from bridge.history.records import Attempt, History
from bridge.message import JSON, Reason
from bridge.moves.assignment import bucket_of


def check_sequence(evidence: Evidence) -> Iterator[Finding]:
    """Find holes, repeats and steps back in each key's entries, and states off their journal."""
    keys = evidence.by_key()
    for key, entries in keys.items():
        seq, at_ms = 0, 0
        for entry in entries:
            if entry["seq"] > seq + 1:
                text = f"the journal goes from seq {seq} to {entry['seq']}"
                yield Finding("lost", key, entry["id"], text)
            elif entry["seq"] == seq:
                yield Finding("repeated", key, entry["id"], f"seq {seq} twice in the journal")
            elif entry["seq"] < seq:
                text = f"seq {entry['seq']} after {seq} in the journal"
                yield Finding("reordered", key, entry["id"], text)
            if entry["at_ms"] < at_ms:
                text = f"committed at {entry['at_ms']}, after a commit at {at_ms}"
                yield Finding("reordered", key, entry["id"], text)
            seq, at_ms = max(seq, entry["seq"]), max(at_ms, entry["at_ms"])
        yield from _check_state(evidence, key, entries[-1])
    for key in evidence.states.keys() - keys.keys():
        yield Finding("lost", key, "", "a state, and no entry in the journal")


def _check_state(evidence: Evidence, key: str, last: Entry) -> Iterator[Finding]:
    if key not in evidence.states:
        yield Finding("lost", key, last["id"], "entries in the journal, and no state")
        return
    version, state = evidence.states[key]
    if (version.seq, version.message_id) != (last["seq"], last["id"]):
        text = (
            f"the state is version {version.seq} of {version.message_id}, "
            f"the journal ends with {last['seq']} of {last['id']}"
        )
        yield Finding("wrong_state", key, last["id"], text)
    elif digest(state) != digest(last["state"]):
        text = f"the state's digest is {digest(state)}, the last entry's {digest(last['state'])}"
        yield Finding("wrong_state", key, last["id"], text)


def check_identity(evidence: Evidence) -> Iterator[Finding]:
    """Find message ids and idempotency keys that were committed twice."""
    ids: dict[str, Entry] = {}
    values: dict[bytes, Entry] = {}
    for entry in evidence.entries:
        first = ids.setdefault(entry["id"], entry)
        if first is not entry:
            text = f"committed as seq {first['seq']} of {first['key']} and as {entry['seq']}"
            yield Finding("repeated", entry["key"], entry["id"], text)
        name = _idempotency(evidence, entry["key"], entry["operation"], entry["request"])
        if name is None:
            continue
        first = values.setdefault(name, entry)
        if first is not entry and first["id"] != entry["id"]:
            text = f"its idempotency key was committed before, by {first['id']}"
            yield Finding("repeated", entry["key"], entry["id"], text)


def check_answers(history: History, evidence: Evidence) -> Iterator[Finding]:
    """Find acknowledged messages without an entry, other replies, and denied commits."""
    entries = {entry["id"]: entry for entry in evidence.entries}
    values = {
        _idempotency(evidence, entry["key"], entry["operation"], entry["request"]): entry
        for entry in evidence.entries
    }
    for message_id, attempts in history.asked.items():
        for attempt in attempts:
            if attempt.told is None or not attempt.told.ok:
                continue
            if attempt.operation in evidence.queries:
                continue
            name = _idempotency(evidence, attempt.key, attempt.operation, attempt.request)
            entry = entries.get(message_id) or (values.get(name) if name else None)
            if entry is None:
                text = f"{attempt.operation} was acknowledged and is not in the journal"
                yield Finding("lost", attempt.key, message_id, text)
            elif not _same(attempt.told.reply, entry["reply"]):
                text = f"told {attempt.told.reply!r}, the journal has {entry['reply']!r}"
                yield Finding("wrong_reply", attempt.key, message_id, text)
        entry = entries.get(message_id)
        denied = all(attempt.told is not None and attempt.told.denied for attempt in attempts)
        if entry is not None and denied:
            text = (
                f"every attempt was told that nothing was applied, yet it is seq {entry['seq']}"
            )
            yield Finding("wrong_reply", entry["key"], message_id, text)


def check_origin(history: History, evidence: Evidence) -> Iterator[Finding]:
    """Find entries that nobody sent (timers' entries are held against the timers elsewhere)."""
    for entry in evidence.entries:
        if entry.get("timer"):
            continue
        attempts = history.asked.get(entry["id"], [])
        if not attempts:
            text = f"{entry['operation']} was committed, nobody sent it and no timer set it"
            yield Finding("phantom", entry["key"], entry["id"], text)
        elif not any(_asked_for(attempt, entry) for attempt in attempts):
            text = f"committed as {entry['operation']} {entry['request']!r}, which nobody sent"
            yield Finding("phantom", entry["key"], entry["id"], text)


def check_order(history: History, evidence: Evidence) -> Iterator[Finding]:
    """Find commits of a key in an order that its clients rule out.

    One connection's pushes commit in push order: an attempt that was told that nothing was
    applied does not count, and a message sent on two connections may take either place. And
    what was acknowledged before another message was first sent comes before it.
    """
    for key, entries in evidence.by_key().items():
        latest: dict[tuple[str, int], tuple[int, str]] = {}
        for entry in entries:
            attempts = [a for a in history.asked.get(entry["id"], ()) if not _denied(a)]
            if len({(a.client, a.connection) for a in attempts}) != 1:
                continue
            line = (attempts[0].client, attempts[0].connection)
            order, other = latest.get(line, (0, ""))
            if order > max(a.order for a in attempts):
                text = f"committed after {other}, which {line[0]} pushed later"
                yield Finding("reordered", key, entry["id"], text)
            latest[line] = max((order, other), (min(a.order for a in attempts), entry["id"]))
        told_at, other = math.inf, ""
        for entry in reversed(entries):
            attempts = history.asked.get(entry["id"], [])
            if attempts and min(a.at for a in attempts) > told_at:
                text = f"committed before {other}, which was acknowledged before this was sent"
                yield Finding("reordered", key, entry["id"], text)
            for attempt in attempts:
                if attempt.told is not None and attempt.told.ok and attempt.told.at < told_at:
                    told_at, other = attempt.told.at, entry["id"]


def check_owner(evidence: Evidence) -> Iterator[Finding]:
    """Find entries by a runtime that its epoch's route does not name, and epochs going back."""
    routes = {route.epoch: route for route in evidence.routes}
    newest = 0
    for entry in evidence.entries:
        route = routes.get(entry["epoch"])
        if route is None:
            text = f"committed at epoch {entry['epoch']}, which the route log does not have"
            yield Finding("wrong_owner", entry["key"], entry["id"], text)
        else:
            unit = entry["id"] if evidence.assign == "message" else entry["key"]
            bucket = bucket_of(evidence.subsystem, unit)
            if entry["reason"] not in get_args(Reason) or not route.allows(
                entry["runtime"], entry["reason"], bucket
            ):
                text = (
                    f"committed by {entry['runtime']} as {entry['reason']} at epoch "
                    f"{route.epoch}: owner {route.owner}, fallback {route.fallback}, "
                    f"candidate {route.candidate} below {route.share}, its bucket is {bucket}"
                )
                yield Finding("wrong_owner", entry["key"], entry["id"], text)
        if entry["epoch"] < newest:
            text = f"committed at epoch {entry['epoch']}, after a commit at epoch {newest}"
            yield Finding("wrong_owner", entry["key"], entry["id"], text)
        newest = max(newest, entry["epoch"])


def _denied(attempt: Attempt) -> bool:
    return attempt.told is not None and attempt.told.denied


def _asked_for(attempt: Attempt, entry: Entry) -> bool:
    """Compare without the defaults that the gateway fills in."""
    if (attempt.key, attempt.operation) != (entry["key"], entry["operation"]):
        return False
    request, committed = attempt.request, entry["request"]
    if isinstance(request, dict) and isinstance(committed, dict):
        return all(
            name in committed and _same(value, committed[name]) for name, value in request.items()
        )
    return _same(request, committed)


def _idempotency(evidence: Evidence, key: str, operation: str, request: JSON) -> bytes | None:
    value = evidence.idempotency(operation, request)
    return None if value is None else canonical(normalise([key, operation, value]))


def _same(one: JSON, other: JSON) -> bool:
    return canonical(normalise(one)) == canonical(normalise(other))
