"""Items between joelclaw's list and their outcome: the intake's keys, scripts and entries.

All of it is on joelclaw's Redis, under `joelclaw:bridge:`; no list of joelclaw's is deleted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio import Redis

from bridge.joelclaw.sessions import INTAKE, OWNED, SESSIONS, doorbell_of, list_of

PREFIX = "joelclaw:bridge:"
LEASE = PREFIX + "intake:lease"  # the worker that takes, with a time to live
WORKERS = PREFIX + "intake:workers"  # set: who has something in flight
IN_FLIGHT = PREFIX + "inflight:"  # + worker, a list
CONTROL = PREFIX + "intake:control"  # published on when the state was changed

LIST, MAIN = map(list_of, OWNED)
DOORBELLS = tuple(map(doorbell_of, OWNED))

LEASE_MS = 8000


class Entry(NamedTuple):
    """One item in flight. `message_id` stays with it through every worker, so it counts once."""

    written: bytes  # as it stands in the list: names it to the scripts
    message_id: str
    session: str  # of the list it was taken from: gateway or main
    item: bytes


class Taken(NamedTuple):
    """What a take found: `state` is free, taken or releasing."""

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
            for name in ("take", "done", "adopt", "give_back")
        }

    async def take(self, message_ids: list[str]) -> Taken:
        """Renew the lease and take the oldest items, until as many are in flight as ids came."""
        state, holding, *entries = await self._run("take", LEASE_MS, *message_ids)
        return Taken(state.decode(), bool(holding), [_read(entry) for entry in entries])

    async def done(self, entry: Entry) -> bool:
        """Remove what is committed or in the quarantine; False if another worker has it."""
        return bool(await self._run("done", entry.written))

    async def adopt(self) -> tuple[str, list[Entry]]:
        """Become the holder unless there is one; return who is, and if it is us what there is."""
        holder, *entries = await self._run("adopt", LEASE_MS)
        return holder.decode(), [_read(entry) for entry in entries]

    async def give_back(self, done: list[Entry]) -> int:
        """Put all but `done` back where the oldest are, in order, and end the lease."""
        return int(await self._run("give_back", *(entry.written for entry in done)))

    async def _run(self, script: str, *arguments: str | bytes | int) -> Any:
        return await self._scripts[script](keys=self._keys, args=(self._worker, *arguments))


def _read(written: bytes) -> Entry:
    _, message_id, session, item = written.split(b" ", 3)
    return Entry(written, message_id.decode(), session.decode(), item)
