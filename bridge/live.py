"""Live states and timers held against a contract before it serves them. Nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.journal.values import Damaged
from bridge.message import JSON
from bridge.migration import verdict_of

if TYPE_CHECKING:
    from bridge.contracts.registry import Contract
    from bridge.journal.store import Journal
    from bridge.journal.values import Snapshot, Timer

TOGETHER = 500  # reads that are under way at once
MOST_TIMERS = 10_000
SAMPLES = 5


@dataclass(frozen=True, slots=True)
class Broken:
    """A key, or a timer of it, that this contract cannot serve, and why."""

    key: str
    version: int  # of the contract that wrote its state; 0 for a timer
    pointer: str
    why: str


@dataclass(slots=True)
class Live:
    """How a subsystem's live keys stand to its contract. `total` may be more than were read."""

    subsystem: str
    version: int
    total: int = 0
    holds: int = 0
    migrates: int = 0
    breaks: int = 0
    timers: int = 0
    timers_break: int = 0
    samples: list[Broken] = field(default_factory=list)

    @property
    def problem(self) -> str:
        """Say what breaks, with a sample; empty if nothing does."""
        told = []
        if self.breaks:
            told.append(f"{self.breaks} live states break")
        if self.timers_break:
            told.append(f"{self.timers_break} timers break")
        if not told:
            return ""
        one = self.samples[0]
        return f"{' and '.join(told)}: {one.key}: {one.why}"

    def as_json(self) -> dict[str, JSON]:
        return asdict(self)

    def __str__(self) -> str:
        text = f"{self.holds} live states hold"
        text += f", {self.migrates} would be migrated" if self.migrates else ""
        read = self.holds + self.migrates + self.breaks
        text += f" (of the first {read} of {self.total} keys)" if read < self.total else ""
        return text


async def look(journal: Journal, contract: Contract, most: int | None = None) -> Live:
    """Read a subsystem's keys, `most` of them, and its timers. Raises BridgeError.

    What holds another type than it should breaks by itself.
    """
    try:
        keys, timers = await _names(journal, contract)
    except Damaged as error:
        found = Live(contract.name, contract.version, breaks=1)
        _sample(found, Broken("", 0, "", error.message))
        return found
    found = Live(contract.name, contract.version, total=len(keys))
    for n in range(0, len(keys[:most]), TOGETHER):
        await _states(journal, contract, keys[n : min(n + TOGETHER, most or len(keys))], found)
    for timer in timers:
        found.timers += 1
        if why := _refused(contract, timer):
            found.timers_break += 1
            _sample(found, Broken(timer.key, 0, "", f"timer {timer.id}: {why}"))
    return found


async def _names(journal: Journal, contract: Contract) -> tuple[list[str], list[Timer]]:
    return await journal.keys(contract.name), await journal.timers(contract.name, MOST_TIMERS)


async def _states(journal: Journal, contract: Contract, keys: Sequence[str], found: Live) -> None:
    reads = (_read(journal, contract, key) for key in keys)
    for key, snapshot in zip(keys, await asyncio.gather(*reads), strict=True):
        if isinstance(snapshot, Damaged):
            found.breaks += 1
            _sample(found, Broken(key, 0, "", snapshot.message))
            continue
        fate, why = verdict_of(contract, snapshot, thorough=True)
        match fate:
            case "holds":
                found.holds += 1
            case "migrates":
                found.migrates += 1
            case _:
                found.breaks += 1
                pointer = "" if why.violation is None else why.violation.pointer
                _sample(found, Broken(key, snapshot.contract, pointer, str(why)))


async def _read(journal: Journal, contract: Contract, key: str) -> Snapshot | Damaged:
    try:
        return await journal.read(contract.name, key)
    except Damaged as error:
        return error


def _sample(found: Live, broken: Broken) -> None:
    if len(found.samples) < SAMPLES:
        found.samples.append(broken)


def _refused(contract: Contract, timer: Timer) -> str:
    """Return why the contract would refuse a timer's message; empty: it takes it."""
    try:
        contract.operation(timer.operation, internal=True).check_request(timer.request)
    except BridgeError as error:
        return error.message
    return ""
