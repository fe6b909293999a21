"""What goes wrong: processes killed and stopped, Redis gone, answers lost on the way."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from random import Random

from tests.chaos.process import BridgeProcess
from tests.proxy import DroppyProxy
from tests.redis_server import RedisServer

# How often each thing is chosen; the rest of the name says what happens to whom.
CHANCES = {
    "kill worker": 6,
    "kill beam": 3,
    "kill typescript": 3,
    "stop worker": 6,
    "stop beam": 3,
    "stop typescript": 3,
    "kill redis": 2,
    "stop redis": 2,
    "cut replies": 6,
    "cut connections": 2,
    "swallow replies": 3,
}
PAUSE_S = (0.2, 1.2)  # between two
STOPPED_S = (0.3, 2.0)
SWALLOWED_S = (0.05, 1.0)


class Killer:
    """Do one thing after another until cancelled; `heal` then undoes what is undone by time."""

    def __init__(
        self,
        bridge: BridgeProcess,
        redis: RedisServer,
        proxy: DroppyProxy,
        random: Random,
        chances: Mapping[str, int] = CHANCES,
        pause_s: tuple[float, float] = PAUSE_S,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._bridge = bridge
        self._redis = redis
        self._proxy = proxy
        self._random = random
        self._chances = chances
        self._pause_s = pause_s
        self._stopped: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(*self._pause_s))
            chosen = self._random.choices(list(self._chances), [*self._chances.values()])[0]
            if await self._do(chosen):
                self.counts[chosen] += 1

    async def heal(self) -> None:
        """Let everything go on that was stopped, and lose nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pid in list(self._stopped):
            _signal(pid, signal.SIGCONT)
        self._redis.cont()
        self._proxy.replies = "pass"

    async def _do(self, chosen: str) -> bool:
        action, _, target = chosen.partition(" ")
        match action, target:
            case "kill", "redis":
                await asyncio.to_thread(self._redis.restart)
            case "stop", "redis":
                self._redis.stop()
                self._later(STOPPED_S, self._redis.cont)
            case "cut", "replies":
                self._proxy.drop_next(self._random.randint(1, 3))
            case "cut", _:
                self._proxy.cut()
            case "swallow", _:
                self._proxy.replies = "swallow"
                self._later(SWALLOWED_S, self._pass)
            case _:
                return await self._signal_one(action, target)
        return True

    async def _signal_one(self, action: str, kind: str) -> bool:
        processes = await asyncio.to_thread(self._bridge.processes)
        pids = [pid for pid, its in processes.items() if its == kind and pid not in self._stopped]
        if not pids:
            return False
        pid = self._random.choice(sorted(pids))
        if action == "kill":
            return _signal(pid, signal.SIGKILL)
        self._stopped.add(pid)
        self._later(STOPPED_S, self._go_on, pid)
        return _signal(pid, signal.SIGSTOP)

    def _go_on(self, pid: int) -> None:
        self._stopped.discard(pid)
        _signal(pid, signal.SIGCONT)

    def _pass(self) -> None:
        self._proxy.replies = "pass"

    def _later(self, between: tuple[float, float], undo: object, *arguments: object) -> None:
        async def wait() -> None:
            await asyncio.sleep(self._random.uniform(*between))
            assert callable(undo)
            undo(*arguments)

        task = asyncio.create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _signal(pid: int, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False
