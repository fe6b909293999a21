"""Which storage the journal in Redis works on, and whether it still has what was acknowledged."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from bridge.errors import BridgeError
from bridge.journal.positions import order
from bridge.journal.values import Damaged, Storage
from bridge.journal.wire import read_storage
from bridge.redis.client import Client
from bridge.redis.connection import (
    Connection,
    NotSent,
    Part,
    Rejected,
    Unanswered,
    WrongType,
)
from bridge.redis.keys import STORAGE, prefix_of

OTHER = "it was flushed, or is another server"
FORMAT = 2  # of the journal
ID_LENGTH = 12  # of the token's 32: every position of an event begins with it
Run = Callable[..., Awaitable[list[Any]]]


class RedisStorage:
    """The storage's identity: a random id in Redis, compared at every read.

    It changes when the storage is another one, and is changed when the storage turns out to have
    lost what was acknowledged (`marks` are the last entries, by subsystem): an id stands for all
    that was written under it. `replaced` is told, `adopt` then writes what each subsystem needs.
    """

    def __init__(
        self,
        client: Client,
        unavailable: Callable[[Exception], BridgeError],
        new_token: Callable[[], str],
        replaced: Callable[[Storage], None],
        adopt: Callable[[], Awaitable[None]],
    ) -> None:
        self.id = ""  # of the storage worked on, once it is known
        self._client = client
        self._unavailable = unavailable
        self._new_token = new_token
        self._replaced = replaced
        self._adopt = adopt
        self._marks: dict[str, str] = {}
        self._newest = ""  # the subsystem of the newest mark
        self._recognising: asyncio.Task[None] | None = None

    @property
    def refused(self) -> str:
        """Say what Redis refuses to have written, '' if nothing."""
        return self._client.refused

    def acknowledged(self, subsystem: str, position: str) -> None:
        """Remember the entry of a commit: a storage without it has lost something."""
        self._newest = subsystem
        self._marks[subsystem] = position

    def is_known(self, seen: bytes | None) -> bool:
        """Compare what a subsystem has as its storage; look closer if it is another one."""
        told = (seen or b"").decode()
        self.id = self.id or told
        if told == self.id:
            return True
        if self._recognising is None:
            self._recognising = asyncio.create_task(self._recognise_again())
        return False

    async def read(self) -> Storage | None:
        """Return which storage this is, None if nothing was ever written."""
        return read_storage(await self._run("storage", STORAGE, "look"))

    async def accept(self) -> Storage | None:
        """Keep no more why the storage is another one than before."""
        return read_storage(await self._run("storage", STORAGE, "accept"))

    async def recognise(self, known: str = "", why: str = OTHER) -> Storage:
        """Return which storage this is, and work on it; it gets its id here if it has none.

        `known` is the id it had for the caller: if it has another one now, `why` is kept. Raises
        BridgeError `storage_unavailable` for a journal that an older version of the bridge wrote.
        """
        answer = await self._ensure(self._run, known or self.id, why)
        storage = read_storage(answer)
        if storage is not None and storage.format != FORMAT:
            raise BridgeError(
                "storage_unavailable",
                f"the journal there has form {storage.format}, of an older version of the bridge"
                f": this one reads form {FORMAT}. Export it with that version (`bridge journal "
                "export`), then begin with an empty directory (BRIDGE_DIR) or Redis database",
                expected=FORMAT,
                actual=storage.format,
            )
        return self._take(answer)

    async def replace(self, why: str) -> Storage:
        """Make it another storage: what was known of this one does not hold any more."""
        known = (await self.recognise()).id
        return self._take(await self._change(self._run, known, why))

    async def look(self) -> None:
        """See whether it is the same storage, and has what was acknowledged last."""
        mark = self._marks.get(self._newest)
        if mark is None:
            await self.recognise()
            return
        try:
            seen, there, _ = await self._run("look", prefix_of(self._newest), mark)
        except Damaged:
            await self.recognise()  # as far as can be seen without it
            return
        if self.is_known(seen) and not there:
            await self.replace(went_back(self._newest, mark))

    async def has_entry(self, subsystem: str, position: str) -> bool:
        """Say whether an entry is there, or was exported and trimmed."""
        order(position)
        try:
            return bool((await self._run("look", prefix_of(subsystem), position))[1])
        except Damaged:  # nobody can tell
            return True

    async def last_entry(self, subsystem: str) -> str:
        """Return the position of the newest entry, '' if there is none, or it cannot be had."""
        try:
            return str((await self._run("look", prefix_of(subsystem), ""))[2].decode())
        except Damaged:
            return ""

    async def greet(self, connection: Connection) -> None:
        """Look at every mark on a new connection, before anybody reads there."""
        run = functools.partial(self._client.run_on, connection)
        for subsystem, mark in list(self._marks.items()):
            try:
                seen, there, _ = await run("look", prefix_of(subsystem), mark)
            except WrongType:
                continue
            if there and seen.decode() == self.id:
                continue
            known = self.id
            answer = await self._ensure(run, known, OTHER)
            if answer[0].decode() == known and not there:
                answer = await self._change(run, known, went_back(subsystem, mark))
            self._take(answer)
            return

    def close(self) -> None:
        if self._recognising is not None:
            self._recognising.cancel()

    def _fresh(self) -> str:
        return self._new_token()[:ID_LENGTH]

    async def _ensure(self, run: Run, known: str, why: str) -> list[Any]:
        return await run("storage", STORAGE, "ensure", self._fresh(), known, why)

    async def _change(self, run: Run, known: str, why: str) -> list[Any]:
        return await run("storage", STORAGE, "replace", known, self._fresh(), why)

    def _take(self, answer: list[Any]) -> Storage:
        storage = read_storage(answer)
        assert storage is not None
        before, self.id = self.id, storage.id
        if before not in ("", storage.id):
            self._marks.clear()
            self._replaced(storage)
        return storage

    async def _recognise_again(self) -> None:
        try:
            await self.recognise()
            await self._adopt()
        except BridgeError:
            pass  # the next read looks again
        finally:
            self._recognising = None

    async def _run(self, script: str, key: str, *arguments: Part) -> list[Any]:
        try:
            return await self._client.run(script, key, *arguments)
        except (NotSent, Unanswered, Rejected) as error:
            raise self._unavailable(error) from None


def went_back(subsystem: str, mark: str) -> str:
    """Say what is missing of a storage that has the same id."""
    return (
        f"{subsystem} lacks the entry {mark}, which was acknowledged: it is an older copy, a "
        "server that failed over without the latest, or its append-only file lost its end"
    )
