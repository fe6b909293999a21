"""What a worker says of itself, and what all of them say: the answer to /admin/status."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict

import orjson

from bridge.errors import BridgeError
from bridge.gateway.figures import Figures, together
from bridge.journal.redis import RedisJournal
from bridge.message import JSON
from bridge.telemetry import QUIET

LOOK_S = 1.0  # how old what is told of another worker may be
LEASE_MS = 6000  # a worker that vanished is told of no longer
RENEW_LOOKS = 2


class Last:
    """Keep the newest event that had something to tell; a listener of telemetry."""

    def __init__(self) -> None:
        self.told: dict[str, JSON] | None = None

    def __call__(self, name: str, labels: dict[str, str]) -> None:
        if name not in QUIET and labels.get("text"):
            at_ms = int(time.time() * 1000)
            self.told = {"event": name, "text": labels["text"][:1000], "at_ms": at_ms}


class Status:
    """Tell the others what `own` returns, from `run` to `leave`; answer for all workers."""

    def __init__(
        self,
        name: str,
        journal: RedisJournal,
        implementations: JSON,
        own: Callable[[], Figures],
    ) -> None:
        self._name = name
        self._journal = journal
        self._implementations = implementations
        self._own = own
        self._committed = 0
        self._measured = time.monotonic()
        self._rates: dict[str, JSON] = {"commits_per_s": 0}

    async def run(self) -> None:
        """Tell what changed, or that nothing did: at rest a few bytes every other second."""
        told, looks = b"", 0
        while True:
            own = self._own()
            self._measure(own["counts"])
            figures = orjson.dumps({**own, "rates": self._rates})
            if figures != told or looks % RENEW_LOOKS == 0:
                with contextlib.suppress(BridgeError):  # it is told of no longer, until it can
                    news = figures if figures != told else b""
                    kept = await self._journal.workers.tell(self._name, LEASE_MS, news)
                    told = figures if kept else b""
            looks += 1
            await asyncio.sleep(LOOK_S)

    async def leave(self) -> None:
        """Have the others tell of this worker no longer."""
        with contextlib.suppress(BridgeError):
            await self._journal.workers.leave(self._name)

    async def answer(self) -> dict[str, JSON]:
        """Return what all workers say; only this one, while Redis is away."""
        told: dict[str, bytes] = {}
        with contextlib.suppress(BridgeError):
            told = await self._journal.workers.told()
        others = [orjson.loads(text) for name, text in told.items() if name != self._name]
        return {
            **together([self._figures(), *others]),
            "implementations": self._implementations,
            "storage": await self._storage(),
        }

    def _figures(self) -> Figures:
        return {**self._own(), "rates": self._rates}

    def _measure(self, counts: dict[str, int]) -> None:
        committed = sum(n for name, n in counts.items() if name.partition("{")[0] == "committed")
        now = time.monotonic()
        rate = round((committed - self._committed) / max(now - self._measured, 0.001))
        self._rates, self._committed = {"commits_per_s": rate}, committed
        self._measured = now

    async def _storage(self) -> JSON:
        storage = self._journal.storage
        try:
            found = await storage.read()
        except BridgeError as error:
            return error.response()
        return {**(asdict(found) if found else {}), "refused": storage.refused}
