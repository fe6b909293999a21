"""Mending a key: a commit that was left half way, or a state that is not the journal's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from bridge.canonical import canonical
from bridge.journal.values import Commit, Same
from bridge.journal.wire import read_journal
from bridge.message import JSON, Version
from bridge.redis.client import Client
from bridge.redis.connection import Part
from bridge.redis.keys import prefix_of

PAGE = 100
ArgumentsOf = Callable[[Commit, str], list[Part]]
StatesOf = Callable[[str, str], Awaitable[tuple[JSON | None, JSON]]]


async def mend(
    client: Client,
    arguments_of: ArgumentsOf,
    states_of: StatesOf,
    subsystem: str,
    key: str,
    same: Callable[[str, JSON], Same],
) -> str:
    """Write what is missing of the key's commit, and release the key; return what was done.

    The entry is what the script writes first. Effects that are not in their lane are queued
    again: they may have been executed, and come at least once. Where no commit was left half
    way, the state becomes that of the key's last entry. Raises NotSent, Unanswered or Rejected.
    """
    prefix = prefix_of(subsystem)
    open_id = (await client.run("unfinished", prefix, key, ""))[0].decode()
    if not open_id:
        return await _restore(client, states_of, subsystem, key)
    row = await _row_of(client, prefix, key, open_id)
    if row is None:
        await client.run("unfinished", prefix, key, "forget")
        return f"{open_id} had written nothing: forgotten"
    position, entry = read_journal(row)
    _, state = await states_of(subsystem, position)
    commit = _commit_of(subsystem, entry, state, same)
    answer = await client.run("commit", prefix, *arguments_of(commit, position))
    if answer[0] != b"committed":
        return f"{open_id} was ended by somebody else"
    await client.run("unfinished", prefix, key, "")
    return f"{open_id} is committed as seq {entry['seq']}"


async def _restore(client: Client, states_of: StatesOf, subsystem: str, key: str) -> str:
    prefix = prefix_of(subsystem)
    fields = ("seq", "id", "state")
    found: list[Any] = await client.call(prefix, "HMGET", f"{prefix}state:{key}", *fields)
    seq, id, state = (part or b"" for part in found)
    row = await _row_of(client, prefix, key)
    if row is None:
        return "the journal has no entry of it: nothing was done"
    position, entry = read_journal(row)
    _, recorded = await states_of(subsystem, position)
    last = (b"%d" % entry["seq"], str(entry["id"]).encode(), canonical(recorded))
    if (seq, id, state) == last:
        return "nothing to mend"
    written = await client.run(
        *("restore", prefix, key, seq or b"0", id),
        *(*last[:2], entry["at_ms"], last[2], position, entry["version"]),
    )
    if not written[0]:
        return "it goes on meanwhile: nothing was done"
    before = (seq or b"0").decode()
    return f"the state was seq {before}, and is that of the last entry, {entry['seq']}"


async def _row_of(client: Client, prefix: str, key: str, message_id: str = "") -> Any:
    """Find the key's newest entry from the journal's end; None if it is not the message's."""
    end = "+"
    while True:
        page: list[Any] = await client.call(
            prefix, "XREVRANGE", f"{prefix}journal", end, "-", "COUNT", PAGE
        )
        for row in page:
            if row[1][3] == key.encode():
                return row if message_id in ("", read_journal(row)[1]["id"]) else None
        if len(page) < PAGE:
            return None
        end = f"({page[-1][0].decode()}"


def _commit_of(
    subsystem: str, entry: dict[str, JSON], state: JSON, same: Callable[[str, JSON], Same]
) -> Commit:
    key, operation = entry["key"], entry["operation"]
    fingerprint, idempotency = same(operation, entry["request"]).digests(key, operation)
    return Commit(
        message_id=entry["id"],
        fingerprint=fingerprint,
        idempotency=idempotency,
        subsystem=subsystem,
        key=key,
        expected=Version(entry["seq"] - 1, ""),
        epoch=entry["epoch"],
        runtime=entry["runtime"],
        reason=entry["reason"],
        now_ms=entry["at_ms"],
        reply=entry["reply"],
        state=state,
        effects=entry["effects"],
        entry=entry,
        timer=entry.get("timer", ""),
        contract=entry["version"],
    )
