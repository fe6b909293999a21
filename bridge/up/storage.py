"""What a directory knows of the storage it served: so that another, or an older one, is noticed.

Redis cannot tell that it lost something; what it had is noted here, outside of it, every five
seconds and when the last worker has left.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bridge.errors import BridgeError
from bridge.journal.redis import RedisJournal
from bridge.journal.redis_storage import OTHER, went_back
from bridge.journal.values import Damaged, Storage

FILE = "storage.json"
EVERY_S = 1.0
NOTE_EVERY = 5  # looks at the id
CUT = (
    "its append-only file was cut at its end, so Redis loaded it without that: what was "
    "acknowledged in the last seconds before may be lost"
)


@dataclass(frozen=True, slots=True)
class Known:
    """The storage's id, and the last entry of each subsystem; `whole` if none came after."""

    id: str = ""
    marks: dict[str, str] = field(default_factory=dict)
    whole: bool = False

    @classmethod
    def read(cls, directory: Path) -> Known:
        try:
            return cls(**json.loads((directory / FILE).read_text()))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError):
            return cls()  # written in one step, so it is somebody else's

    def write(self, directory: Path) -> None:
        fresh = directory / f"{FILE}.new"
        fresh.write_text(json.dumps(asdict(self)) + "\n")
        fresh.replace(directory / FILE)


class StorageWatch:
    """Compare the storage with what this directory knows, then note what it has."""

    def __init__(
        self,
        directory: Path,
        redis_url: str,
        say: Callable[[str], None],
        *,
        ours: Callable[[], bool] = lambda: True,
    ) -> None:
        """Take who is told, and whether the directory is `ours` still: else nothing is noted."""
        self._directory = directory
        self._ours = ours
        self._journal = RedisJournal(redis_url)
        self._say = say
        self._known = Known.read(directory)
        self._noting: asyncio.Task[None] | None = None

    async def start(self, *, cut: bool) -> None:
        """Say what is wrong with the storage; `cut` is that Redis found its file so.

        Raises BridgeError if it cannot be asked.
        """
        known = self._known
        storage = await self._journal.storage.recognise(known.id, OTHER)
        if storage.id == known.id:
            storage = await self._lost(storage, cut)
        self._tell(storage)
        for damaged in await damaged_in(self._journal):
            self._say(f"storage: {damaged}; what needs it fails")
        self._known = Known(storage.id)
        await self._note()
        self._noting = asyncio.create_task(self._keep_noting())

    async def close(self) -> None:
        """Note what it has in the end: nobody writes any more."""
        if self._noting is not None:
            self._noting.cancel()
            try:
                await self._note(whole=True)
            except BridgeError as error:
                self._say(f"storage: what it has was not noted: {error.message}")
        await self._journal.close()

    async def _lost(self, storage: Storage, cut: bool) -> Storage:
        for subsystem, mark in self._known.marks.items():
            if not await self._journal.storage.has_entry(subsystem, mark):
                return await self._journal.storage.replace(went_back(subsystem, mark))
        if cut and not self._known.whole:
            return await self._journal.storage.replace(CUT)
        return storage

    def _tell(self, storage: Storage) -> None:
        if storage.why:
            self._say(f"storage: {warning_of(storage)}")

    async def _keep_noting(self) -> None:
        for n in itertools.count(1):
            await asyncio.sleep(EVERY_S)
            try:
                storage = await self._journal.storage.recognise(self._known.id, OTHER)
                if storage.id != self._known.id:
                    self._tell(storage)
                    self._known = Known(storage.id)
                if n % NOTE_EVERY == 0:
                    await self._note()
            except BridgeError:
                continue  # Redis is away: the workers say so

    async def _note(self, *, whole: bool = False) -> None:
        routes = await self._journal.routes()
        marks = {
            route.subsystem: await self._journal.storage.last_entry(route.subsystem)
            for route in routes
        }
        there = {name: mark for name, mark in marks.items() if mark}
        # An empty journal was trimmed behind its export, or there never was an entry.
        known = Known(self._known.id, {**self._known.marks, **there}, whole)
        if known != self._known and self._ours():
            known.write(self._directory)
            self._known = known


async def damaged_in(journal: RedisJournal) -> list[Damaged]:
    """Return the keys of all subsystems that were met and still hold another type."""
    found: list[Damaged] = []
    for name in await journal.subsystems():
        try:
            found += await journal.damaged(name)
        except Damaged as error:
            found.append(error)
    return found


def warning_of(storage: Storage) -> str:
    """Say that a storage is not the one it was, and how not to be told again."""
    return (
        f"{storage.id[:8]} in place of {storage.before[:8]}: {storage.why}. What is gone stays "
        "gone, routes that were not there are their contracts' again; `bridge storage accept`"
    )
