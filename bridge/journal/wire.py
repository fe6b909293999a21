"""Between values and what the Lua scripts are given and answer. No I/O here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bridge.canonical import canonical
from bridge.journal import records
from bridge.journal.values import (
    OUTBOX_KINDS,
    Base,
    Commit,
    Committed,
    Dead,
    Route,
    Storage,
    TargetState,
    Timer,
)
from bridge.message import JSON, Version
from bridge.redis.connection import Part


def commit_arguments(
    commit: Commit,
    done_ttl_ms: int,
    events_keep: int,
    *,
    delivering: bool,
    storage: str,
    mended: str = "",
) -> list[Part]:
    """Return what `commit.lua` is given, but for the tag.

    `storage` is what the caller takes the storage to be, '' for any; `mended` is the entry of
    this very commit, if it ended half way.
    """
    emit = "deliver" if delivering else "emit"
    written = records.written(commit)
    arguments: list[Part] = [
        commit.message_id,
        commit.fingerprint,
        commit.idempotency,
        commit.key,
        commit.expected.seq,
        commit.expected.message_id,
        commit.epoch,
        commit.runtime,
        commit.reason,
        commit.now_ms,
        commit.expected.seq + 1,
        written.state,
        written.entry,
        records.done_record(commit),
        done_ttl_ms,
        commit.timer,
        commit.set_by,
        events_keep,
        storage,
        mended,
        commit.bucket,
        int(written.whole),
        commit.contract,
    ]
    for kind, effect_id, effect in records.sorted_effects(commit):
        if kind == "emit":
            event = canonical(records.cloud_event(commit, effect_id, effect))
            arguments += (emit, event)
        elif kind == "cancel":
            arguments += ("cancel", effect["id"])
        if kind in ("schedule", "call"):
            timer = records.timer_body(effect_id, effect, commit.now_ms)
            body = canonical(timer)
            arguments += ("schedule", timer["id"], timer["due_ms"], body, effect_id)
        if kind in OUTBOX_KINDS:
            lane = records.lane_of(commit.key, effect_id, effect)
            arguments += ("queue", lane, records.outbox_record(commit, effect_id, effect))
    return arguments


def read_route(subsystem: str, fields: Sequence[Any]) -> Route | None:
    """Read owner, fallback, epoch, time, storage, phase, candidate and share; one that was
    written before there were moves has none of the last three.
    """
    owner, fallback, epoch, changed_ms, _, phase, candidate, share = fields
    if owner is None:
        return None
    return Route(
        subsystem,
        owner.decode(),
        fallback.decode() or None,
        int(epoch),
        int(changed_ms),
        (phase or b"steady").decode(),
        candidate.decode() if candidate else None,
        int(share or 0),
    )


def read_route_log(subsystem: str, line: bytes) -> Route | None:
    fields: list[Any] = line.split(b",")
    return read_route(subsystem, [*fields[:4], b"", *(fields[4:] or (None, None, None))])


def read_base(state: JSON, whole: bytes | None, seq: bytes | None, now_ms: int) -> Base | None:
    """Read where a key's last whole state is; None if a patch may build on none."""
    if not whole or seq is None:
        return None
    return Base(state, int(seq), now_ms - int(whole.partition(b"-")[0]))


def read_journal(row: Sequence[Any]) -> tuple[str, dict[str, JSON]]:
    """Read an entry of the journal's stream: its position, and what it says."""
    position, (_, text, _, key, _, seq, _, before, *_) = row
    return position.decode(), records.read_entry(text, key.decode(), int(seq), before.decode())


def whole_of(row: Sequence[Any]) -> str:
    """Return the position of the whole state that an entry builds on, '' if it has its own."""
    whole: str = row[1][9].decode()
    return whole


def read_storage(answer: Sequence[bytes]) -> Storage | None:
    id, made_ms, before, why, changed_ms, form = (part.decode() for part in answer)
    if not id:
        return None
    return Storage(id, int(made_ms), before, why, int(changed_ms or 0), int(form or 1))


def read_target(answer: Sequence[Any]) -> TargetState:
    since_ms, attempts, error, wait_ms, granted = answer
    return TargetState(
        int(since_ms or 0), int(attempts), error.decode(), int(wait_ms), bool(granted)
    )


def read_committed(commit: Commit, answer: list[Any]) -> Committed:
    status = answer[0].decode()
    if status == "committed":
        return Committed(status, records.next_version(commit))
    if status == "duplicate":
        done = records.read_done(answer[1], answer[2])
        return Committed(status, Version(done.seq, done.message_id), done)
    if status == "stale":
        return Committed(status, Version(int(answer[1]), answer[2].decode()))
    return Committed(status)


def read_timers(subsystem: str, answer: list[Any]) -> list[Timer]:
    return [
        records.read_timer(subsystem, member.decode(), body, int(attempts), error.decode())
        for member, body, attempts, error in groups(answer, 4)
    ]


def read_dead(subsystem: str, *fields: bytes) -> Dead:
    _id, what, lane, record, error, attempts, died_ms = fields
    if what == b"effect":
        entry = records.read_outbox(subsystem, lane.decode(), record)
        return records.dead_effect(entry, error.decode(), int(attempts), int(died_ms))
    timer = records.read_timer(subsystem, lane.decode(), record)
    return records.dead_timer(timer, error.decode(), int(attempts), int(died_ms))


def groups(flat: list[Any], size: int) -> list[tuple[Any, ...]]:
    return list(zip(*[iter(flat)] * size, strict=True))
