"""What the journals store, as values and as text: entries, events, effects. No I/O here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from bridge.canonical import canonical
from bridge.cloud_event import envelope
from bridge.contracts.contract import call_id, timed_out
from bridge.errors import BridgeError
from bridge.journal.patch import Patch, difference, patched
from bridge.journal.values import (
    OUTBOX_KINDS,
    Commit,
    Dead,
    Done,
    Event,
    OutboxEntry,
    Present,
    Route,
    Timer,
)
from bridge.message import JSON, Version, context_for

START = "0-0"  # the position before the first event and the first entry
WHOLE_EVERY = 64  # entries of a key: at least one of them has its state whole
WHOLE_AFTER_MS = 86_400_000
WHOLE_SLACK_MS = 3_600_000  # by which a commit may be later than the read before it
LEAST_PATCHED = 128  # bytes of a state


class Written(NamedTuple):
    """What is written of a commit; `whole` says that the entry has the state, not a patch."""

    state: bytes
    entry: bytes
    whole: bool


def next_version(commit: Commit) -> Version:
    """Return the version a commit makes."""
    return Version(commit.expected.seq + 1, commit.message_id)


def written(commit: Commit) -> Written:
    """Return the texts of a commit: its state, and its journal entry without key and number.

    The entry has the state whole where a patch to the one before is not much smaller, or the
    last whole one is many commits or a long time ago.
    """
    state = canonical(commit.state)
    patch = _patch_of(commit, len(state))
    entry = {
        **commit.entry,
        "id": commit.message_id,
        "at_ms": commit.now_ms,
        "epoch": commit.epoch,
        "version": commit.contract,
        "runtime": commit.runtime,
        "reason": commit.reason,
        "reply": commit.reply,
        "effects": commit.effects,
    }
    if commit.timer:
        entry["timer"] = commit.timer
    entry |= {"state": commit.state} if patch is None else {"patch": patch}
    return Written(state, canonical(entry), patch is None)


def _patch_of(commit: Commit, size: int) -> Patch | None:
    base = commit.base
    if (
        base is None
        or size < LEAST_PATCHED
        or commit.expected.seq + 1 - base.seq >= WHOLE_EVERY
        or base.age_ms >= WHOLE_AFTER_MS
    ):
        return None
    patch = difference(base.state, commit.state)
    return patch if 2 * len(canonical(patch)) < size else None


def read_entry(text: bytes, key: str, seq: int, before: str) -> dict[str, JSON]:
    """Return an entry as it was written, with its number and context; `before` is the position
    of the key's entry before it.
    """
    entry: dict[str, JSON] = {**orjson.loads(text), "key": key, "seq": seq, "before": before}
    zone, deadline_ms = entry.pop("zone"), entry.pop("deadline_ms")
    context = context_for(entry["id"], entry["at_ms"], deadline_ms, zone, key)
    return {**entry, "context": context.as_json()}


def states_of(chain: Sequence[Mapping[str, JSON]]) -> tuple[JSON, JSON]:
    """Return the state of the second newest of a chain's entries, if it has one, and of the
    newest: they come newest first, and the last has its state whole.
    """
    before: JSON = None
    state: JSON = chain[-1]["state"]
    for entry in reversed(chain[:-1]):
        before, state = state, patched(state, entry["patch"])
    return before, state


def with_states(entries: Iterable[dict[str, JSON]]) -> Iterator[dict[str, JSON]]:
    """Yield entries, which come oldest first, each with its state whole.

    Runs no handler. Raises KeyError where the first entry of a key is a patch.
    """
    states: dict[str, JSON] = {}
    for entry in entries:
        key = entry["key"]
        whole = "state" in entry
        states[key] = entry["state"] if whole else patched(states[key], entry["patch"])
        yield {**entry, "state": states[key]}


def sorted_effects(commit: Commit) -> Iterator[tuple[str, str, dict[str, JSON]]]:
    """Yield each effect of a commit as (kind, `<message id>/<n>`, effect), in handler order.

    Raises ValueError for a kind outside the closed list.
    """
    for n, effect in enumerate(commit.effects):
        kind = effect["effect"]
        if kind not in ("emit", "schedule", "cancel", *OUTBOX_KINDS):
            raise ValueError(f"effect {n} of message {commit.message_id}: unknown kind {kind!r}")
        yield kind, f"{commit.message_id}/{n}", effect


def lane_of(key: str, effect_id: str, effect: dict[str, JSON]) -> str:
    """Return the unit of order an effect belongs to; a call waits for none and holds up none."""
    alone = effect["effect"] == "call" or effect.get("unordered")
    return effect_id if alone else key


# -- done-records: "<fingerprint> <seq> <reply>" ------------------------------------------------
def done_record(commit: Commit) -> bytes:
    """Return the done-record of a commit; scripts compare what stands before the first space."""
    return f"{commit.fingerprint} {commit.expected.seq + 1} ".encode() + canonical(commit.reply)


def read_done(message_id: bytes, record: bytes) -> Done:
    fingerprint, seq, reply = record.split(b" ", 2)
    return Done(message_id.decode(), fingerprint.decode(), orjson.loads(reply), int(seq))


# -- events: CloudEvents 1.0, JSON format -------------------------------------------------------
def cloud_event(commit: Commit, event_id: str, effect: dict[str, JSON]) -> dict[str, JSON]:
    """Return the CloudEvents form of an emitted event; `seq` and `n` are extension attributes."""
    return envelope(
        id=event_id,
        source=f"/bridge/{commit.subsystem}",
        type=effect["type"],
        subject=commit.key,
        time_ms=commit.now_ms,
        data=effect["payload"],
        seq=commit.expected.seq + 1,
        n=int(event_id.rpartition("/")[2]),
    )


def read_event(position: str, subsystem: str, text: bytes) -> Event:
    body = orjson.loads(text)
    return Event(
        position=position,
        subsystem=subsystem,
        key=body["subject"],
        seq=body["seq"],
        n=body["n"],
        id=body["id"],
        type=body["type"],
        payload=body["data"],
        at_ms=_milliseconds(body["time"]),
    )


# -- presence -----------------------------------------------------------------------------------
PRESENCE_DIFF = "presence_diff"


def presence_meta(one: Present) -> dict[str, JSON]:
    return {**one.meta, "phx_ref": one.ref}


def presence_member(one: Present) -> bytes:
    """Return what is kept of somebody who is there: id and meta, each as JSON, in two lines."""
    return canonical(one.id) + b"\n" + canonical(presence_meta(one))


def presence_event(position: str, at_ms: int, subsystem: str, key: str, diff: bytes) -> Event:
    """Return the event that tells who came and went; no commit made it."""
    return Event(position, subsystem, key, 0, 0, "", PRESENCE_DIFF, orjson.loads(diff), at_ms)


# -- outbox: "<kind> <JSON>" --------------------------------------------------------------------
def outbox_record(commit: Commit, effect_id: str, effect: dict[str, JSON]) -> bytes:
    """Return what waits in a lane; scripts read the kind before the first space."""
    body = {
        "id": effect_id,
        "key": commit.key,
        "effect": effect,
        "committed_ms": commit.now_ms,
        "runtime": commit.runtime,
    }
    return f"{effect['effect']} ".encode() + canonical(body)


def read_outbox(subsystem: str, lane: str, record: bytes, **claim: Any) -> OutboxEntry:
    kind, body = record.split(b" ", 1)
    return OutboxEntry(
        lane=lane, subsystem=subsystem, kind=kind.decode(), **orjson.loads(body), **claim
    )


# -- timers -------------------------------------------------------------------------------------
def timer_member(key: str, timer_id: str) -> str:
    """Return the name of a timer within its subsystem; keys hold no control characters."""
    return f"{key}\n{timer_id}"


def call_timer(entry: OutboxEntry) -> str:
    """Return the name of the timer that stands as long as a call does."""
    return timer_member(entry.key, call_id(entry.effect, entry.id))


def timer_body(effect_id: str, effect: dict[str, JSON], now_ms: int) -> dict[str, JSON]:
    """Return what a timer keeps; that of a call stands until it is answered, or tells that it
    was not in time.
    """
    if effect["effect"] == "call":
        return {
            "id": call_id(effect, effect_id),
            "due_ms": now_ms + effect["timeout_ms"],
            "operation": effect["then"],
            "request": timed_out(effect, effect_id),
            "set_by": effect_id,
        }
    return {
        "id": effect["id"],
        "due_ms": effect["at_ms"],
        "operation": effect["operation"],
        "request": effect["request"],
        "set_by": effect_id,
    }


def read_timer(
    subsystem: str, member: str, body: bytes, attempts: int = 0, error: str = ""
) -> Timer:
    key = member.partition("\n")[0]
    return Timer(
        subsystem=subsystem, key=key, attempts=attempts, error=error, **orjson.loads(body)
    )


# -- dead letters -------------------------------------------------------------------------------
def dead_effect(entry: OutboxEntry, error: str, attempts: int, died_ms: int) -> Dead:
    return Dead(
        id=entry.id,
        subsystem=entry.subsystem,
        key=entry.key,
        what="effect",
        kind=entry.kind,
        body=entry.effect,
        error=error,
        attempts=attempts,
        died_ms=died_ms,
    )


def dead_timer(timer: Timer, error: str, attempts: int, died_ms: int) -> Dead:
    """Return the dead letter of a timer; its id is that of the effect that set it."""
    body = {
        "id": timer.id,
        "due_ms": timer.due_ms,
        "operation": timer.operation,
        "request": timer.request,
        "set_by": timer.set_by,
    }
    return Dead(
        id=timer.set_by,
        subsystem=timer.subsystem,
        key=timer.key,
        what="timer",
        kind="schedule",
        body=body,
        error=error,
        attempts=attempts,
        died_ms=died_ms,
    )


def _milliseconds(iso: str) -> int:
    seconds = datetime.fromisoformat(iso[:19] + "+00:00").timestamp()
    return int(seconds) * 1000 + int(iso[20:23])


# -- moves --------------------------------------------------------------------------------------
def route_entry(owner: str, by: str, why: str) -> dict[str, JSON]:
    """Return what the history of moves says of a route that was set without one."""
    return {"event": "route", "phase": "steady", "to": owner, "share": 0, "by": by, "why": why}


def history_entry(line: bytes) -> dict[str, JSON]:
    """Read `<epoch> <at_ms> <JSON>`."""
    epoch, at_ms, text = line.split(b" ", 2)
    return {"epoch": int(epoch), "at_ms": int(at_ms), **orjson.loads(text)}


def move_runs(route: Route) -> BridgeError:
    """Return the refusal of a route that is set by hand while a move runs."""
    name = route.subsystem
    where = f"canary {route.share} %" if route.phase == "canary" else route.phase
    return BridgeError(
        "invalid_request",
        f"{name} is being moved from {route.owner} to {route.candidate} ({where}): "
        f"`bridge move abort {name}` or `bridge move rollback {name}` ends that first",
        subsystem=name,
        phase=route.phase,
        candidate=route.candidate,
    )
