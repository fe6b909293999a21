"""Where effects go, in memory: what the script does, read as Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bridge.journal.values import TargetState


@dataclass(slots=True)
class _Target:
    since_ms: int
    pause_ms: float
    attempts: int = 0
    error: str = ""
    next_ms: int = 0

    def state(self, now_ms: int) -> TargetState:
        wait_ms = max(0, self.next_ms - now_ms)
        return TargetState(self.since_ms, self.attempts, self.error, wait_ms)


class MemoryTargets:
    """`MemoryJournal.targets`."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._targets: dict[str, _Target] = {}

    async def state(self, kind: str) -> TargetState:
        target = self._targets.get(kind)
        return target.state(self._clock()) if target else TargetState()

    async def away(
        self, kind: str, error: str, pause_ms: int, longest_ms: int, retry_after_ms: int = 0
    ) -> TargetState:
        now = self._clock()
        target = self._targets.setdefault(kind, _Target(now, pause_ms / 2))
        target.attempts, target.error = target.attempts + 1, error
        target.pause_ms = min(target.pause_ms * 2, longest_ms)
        target.next_ms = now + int(max(target.pause_ms, retry_after_ms))
        return target.state(now)

    async def probe(self, kind: str) -> TargetState:
        target, now = self._targets.get(kind), self._clock()
        if target is None:
            return TargetState()
        granted = target.next_ms <= now
        if granted:
            target.next_ms = now + int(target.pause_ms)
        return target.state(now)._replace(granted=granted)

    async def back(self, kind: str) -> None:
        self._targets.pop(kind, None)
