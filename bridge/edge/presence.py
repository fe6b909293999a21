"""Who is there: the leases of this worker's clients, and those of its nodes' clients.

What enters and leaves within a moment goes to Redis together and comes back to every edge as one
event of its key, `presence_diff`. Who left is gone at once; whoever this worker sends on, or
loses with a node, stays until the lease ends: nobody sees them go who come back by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from bridge.channels.requests import Presence
from bridge.edge.contract import Contract
from bridge.errors import BridgeError
from bridge.journal import store
from bridge.journal.values import Present
from bridge.telemetry import Telemetry

TOGETHER_S = 0.05  # how long others are waited for
AT_ONCE = 500  # in one script
RETRY_S = 0.5

Tell = Callable[[bytes], None]  # takes who is there, as JSON


@dataclass(slots=True)
class _Subsystem:
    told: str
    here: dict[str, Present] = field(default_factory=dict)  # by ref: whose leases are renewed
    entering: dict[str, Present] = field(default_factory=dict)
    leaving: dict[str, Present] = field(default_factory=dict)
    asking: dict[str, list[Tell]] = field(default_factory=dict)  # by key
    due: bool = True  # to be looked at, though nothing changed here


class Presences:
    """What a worker's edge knows of who is there. `run` keeps it until cancelled."""

    def __init__(
        self,
        presences: store.Presences,
        telemetry: Telemetry,
        lease_ms: int,
        new_id: Callable[[], str],
    ) -> None:
        self._presences = presences
        self._new_id = new_id
        self._telemetry = telemetry
        self._lease_ms = lease_ms
        self._subsystems: dict[str, _Subsystem] = {}
        self._changed = asyncio.Event()
        self._renewing = True

    def add(self, name: str, contract: Contract) -> None:
        """Know a subsystem by its contract; leases of its that have ended are looked for."""
        if contract.presence and name not in self._subsystems:
            self._subsystems[name] = _Subsystem(contract.told_who_is_there)

    def covers(self, subsystem: str) -> bool:
        return subsystem in self._subsystems

    def one(self, key: str, presence: Presence | None) -> Present | None:
        """Return who joins a key as others are to see it, by a ref of its own."""
        return presence and Present(key, self._new_id(), presence.id, presence.meta)

    def joined(self, subsystem: str, key: str, one: Present | None, tell: Tell) -> None:
        """Let enter who has joined, and have `tell` called with who is there, once."""
        if not self.covers(subsystem):
            return
        of = self._subsystems[subsystem]
        if one is not None:
            self.stays(subsystem, one)
        of.asking.setdefault(key, []).append(tell)
        self._changed.set()

    def stays(self, subsystem: str, one: Present) -> None:
        """Keep a lease from now on; another worker did before, or nobody."""
        of = self._subsystems[subsystem]
        of.here[one.ref] = of.entering[one.ref] = one
        self._changed.set()

    def parted(self, subsystem: str, one: Present, *, left: bool) -> None:
        """End a lease, or, of a client that is sent on and comes back, let it end by itself."""
        of = self._subsystems[subsystem]
        of.here.pop(one.ref, None)
        if left:
            of.entering.pop(one.ref, None)
            of.leaving[one.ref] = one
            self._changed.set()

    def stop_renewing(self) -> None:
        """Let all leases end by themselves: their clients are sent on."""
        self._renewing = False

    async def run(self) -> None:
        renew = asyncio.create_task(self._renew())
        try:
            while True:
                await self._changed.wait()
                await asyncio.sleep(TOGETHER_S)
                self._changed.clear()
                for name, of in list(self._subsystems.items()):
                    await self._turn_of(name, of)
        finally:
            renew.cancel()

    async def _renew(self) -> None:
        """Renew all leases in time, and have those looked at that have ended."""
        while True:
            for of in self._subsystems.values():
                of.due = True
                if self._renewing:
                    of.entering |= of.here
            self._changed.set()
            await asyncio.sleep(self._lease_ms / 3000)

    async def _turn_of(self, name: str, of: _Subsystem) -> None:
        try:
            if of.due or of.entering or of.leaving or of.asking:
                await self._turn(name, of)
        except BridgeError as error:
            self._telemetry.emit("presence_failed", subsystem=name, code=error.code)
            asyncio.get_running_loop().call_later(RETRY_S, self._changed.set)
        except Exception as error:  # a defect must not let all leases end: count, go on
            self._telemetry.emit("defect", where="presence", text=repr(error))

    async def _turn(self, name: str, of: _Subsystem) -> None:
        """Tell Redis; who waits for an answer gets it behind the last of what it asked with."""
        while True:
            here = list(of.entering.values())[:AT_ONCE]
            gone = list(of.leaving.values())[: AT_ONCE - len(here)]
            last = len(here) + len(gone) < AT_ONCE
            asked = list(of.asking) if last else []
            found = await self._presences.turn(
                name, here, gone, asked, lease_ms=self._lease_ms, told=of.told
            )
            for one in here:
                if of.entering.get(one.ref) is one:
                    del of.entering[one.ref]
            for one in gone:
                if of.leaving.get(one.ref) is one:
                    del of.leaving[one.ref]
            for key, text in found.items():
                for tell in of.asking.pop(key):
                    tell(text)
            if last:
                of.due = False
                return
