"""Items between joelclaw's list and their outcome: the intake's keys, scripts and entries.

All of it is on joelclaw's Redis, under `joelclaw:bridge:`; no list of joelclaw's is deleted.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from redis.asyncio import Redis

from bridge.joelclaw.sessions import INTAKE, OWNED, SESSION, SESSIONS, doorbell_of, list_of
from bridge.message import derived_id

PREFIX = "joelclaw:bridge:"
LEASE = PREFIX + "intake:lease"  # the worker that takes, with a time to live
WORKERS = PREFIX + "intake:workers"  # set: who has something in flight
IN_FLIGHT = PREFIX + "inflight:"  # + worker, a list
CONTROL = PREFIX + "intake:control"  # published on when the state was changed

LIST, MAIN = map(list_of, OWNED)
DOORBELLS = tuple(map(doorbell_of, OWNED))

LEASE_MS = 8000
MAX_BYTES = 1_048_576  # in flight; a larger item is there alone

State = Literal["free", "taken", "releasing"]
STATES: tuple[State, ...] = get_args(State)


class Entry(NamedTuple):
    """One item in flight. `message_id` stays with it through every worker, so it counts once."""

    written: bytes  # as it stands in the list: names it to the scripts
    message_id: str
    session: str  # of the list it was taken from: gateway or main
    item: bytes


class Taken(NamedTuple):
    """What a take found. `state` is "" on a Redis where none is written."""

    state: str
    holding: bool
    entries: list[Entry]


class InFlight:
    """One worker's part of the intake. Every method may raise RedisError or OSError."""

    def __init__(self, redis: Redis, worker: str) -> None:
        self._redis = redis
        self._worker = worker
        self._keys = (INTAKE, LEASE, WORKERS, IN_FLIGHT + worker, LIST, MAIN, SESSIONS)
        folder = Path(__file__).parent / "lua"
        prelude = (folder / "prelude.lua").read_text()
        self._scripts = {
            name: redis.register_script(prelude + (folder / f"{name}.lua").read_text())
            for name in ("take", "done", "adopt", "give_back", "let_go", "change")
        }

    async def take(self, message_ids: list[str]) -> Taken:
        """Renew the lease and take the oldest items, until as many are in flight as ids came.

        Without ids it only renews the lease, and returns no entries.
        """
        state, holding, *entries = await self._run("take", LEASE_MS, MAX_BYTES, *message_ids)
        return Taken(text_of(state), bool(holding), [_read(entry) for entry in entries])

    async def done(self, entry: Entry, *, echo: bool = False) -> bool:
        """Remove what is committed, in the quarantine or an echo; False if another has it."""
        return bool(await self._run("done", entry.written, int(echo)))

    async def adopt(self) -> tuple[str, str, list[Entry]]:
        """Become the holder unless there is one; return who is, the intake's state, and if it is
        us what there is.
        """
        holder, state, *entries = await self._run("adopt", LEASE_MS)
        return text_of(holder), text_of(state), [_read(entry) for entry in entries]

    async def give_back(self, done: list[Entry]) -> int:
        """Put all but `done` back where the oldest are, in order, and end the lease."""
        return int(await self._run("give_back", *(entry.written for entry in done)))

    async def let_go(self) -> None:
        """End the lease; what is in flight is left to whoever adopts it."""
        await self._run("let_go")

    async def change(self, state: State, *only_from: State | Literal[""]) -> bool:
        """Write the intake's state, if it is one of these now, and tell the workers."""
        now_ms = time.time_ns() // 1_000_000
        changed = bool(await self._run("change", state, now_ms, *only_from))
        if changed:
            await self._redis.publish(CONTROL, state)
        return changed

    async def _run(self, script: str, *arguments: str | bytes | int) -> Any:
        return await self._scripts[script](keys=self._keys, args=(self._worker, *arguments))


def _read(written: bytes) -> Entry:
    """Return an entry; what is none, because somebody else wrote it, is an item with an id."""
    number, *rest = written.split(b" ", 3)
    if len(rest) == 3 and number.isdigit():
        return Entry(written, text_of(rest[0]), text_of(rest[1]), rest[2])
    return Entry(written, derived_id(text_of(written), "entry"), SESSION, written)


def text_of(part: bytes) -> str:
    """Return a name or an id; what is no text shows as escapes."""
    return part.decode(errors="backslashreplace")
