"""Moves and their evidence in memory: what the scripts do, read as Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from bridge.canonical import canonical
from bridge.errors import BridgeError
from bridge.journal import records
from bridge.journal.values import Noted, Route, Standing
from bridge.message import JSON

MOST_SIGNATURES, MOST_TRACES = 200, 1000
STAYS = ("violations", "losses", "last_loss_ms", "signatures", "samples")


@dataclass(slots=True)
class _Moves:
    record: bytes = b""
    log: list[bytes] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    texts: dict[str, str] = field(default_factory=dict)
    traces: list[bytes] = field(default_factory=list)
    accepted: dict[str, bytes] = field(default_factory=dict)


class MemoryMoves:
    """`MemoryJournal.moves`; `routes` gives a subsystem's list of routes, oldest first."""

    def __init__(self, clock: Callable[[], int], routes: Callable[[str], list[Route]]) -> None:
        self._clock = clock
        self._routes = routes
        self._of: dict[str, _Moves] = {}

    async def standing(self, subsystem: str) -> Standing:
        routes = self._routes(subsystem)
        if not routes:
            raise BridgeError("unknown_topic", f"no subsystem {subsystem!r}", actual=subsystem)
        record = self._moves(subsystem).record
        return Standing(routes[-1], orjson.loads(record) if record else None, self._clock())

    async def change(
        self, route: Route, move: dict[str, JSON], entry: dict[str, JSON], *, fresh: bool = False
    ) -> bool:
        routes, moves = self._routes(route.subsystem), self._moves(route.subsystem)
        if routes[-1].epoch != route.epoch - 1:
            return False
        now = self._clock()
        moves.log.append(f"{route.epoch} {now} ".encode() + canonical(entry))
        moves.record = canonical(move)
        before = routes[-1]
        routes.append(
            Route(
                *(route.subsystem, route.owner, before.fallback, route.epoch, now),
                *(route.phase, route.candidate, route.share),
            )
        )
        if fresh:
            moves.counts.clear()
            moves.texts.clear()
        return True

    async def history(self, subsystem: str) -> list[dict[str, JSON]]:
        return [records.history_entry(line) for line in self._moves(subsystem).log]

    async def note(self, subsystem: str, epoch: int, noted: Noted) -> bool:
        moves, now = self._moves(subsystem), self._clock()
        move_id = orjson.loads(moves.record)["id"] if moves.record else ""
        if not move_id or epoch < int(move_id):
            return False
        counts, texts = moves.counts, moves.texts
        build = texts.get("build", "")
        if texts.get("move") != move_id or (build and noted.build not in ("", build)):
            again = texts.get("move") == move_id
            restarts = counts["restarts"] + 1 if again else 0
            stays, before, told = Counter[str](), 0, dict[str, str]()
            if again and self._routes(subsystem)[-1].phase == "canary":
                stays.update({n: c for n, c in counts.items() if n in STAYS or n[:4] == "sig:"})
                before = counts["same"] + counts["before"]
                told = {n: t for n, t in texts.items() if n[:7] == "sample:" or n in STAYS}
            counts.clear()
            texts.clear()
            counts.update(stays)
            texts.update(told, move=move_id, since_ms=str(now))
            counts["restarts"], counts["before"] = restarts, before
        if noted.build:
            texts["build"] = noted.build
        if noted.lost and now - int(texts.get("last_loss_ms", 0)) > 1000:
            counts["losses"] += 1
            texts["last_loss_ms"] = str(now)
        for name, count in noted.counts.items():
            if name.startswith("sig:") and name not in counts:
                counts["signatures"] += 1
                if counts["signatures"] > MOST_SIGNATURES:
                    counts["sig:other"] += count
                    continue
            counts[name] += count
        for name, text in noted.samples.items():
            if name not in texts:
                counts["samples"] += 1
                if counts["samples"] <= MOST_SIGNATURES:
                    texts[name] = text
        moves.traces += [trace.encode() for trace in noted.traces]
        del moves.traces[:-MOST_TRACES]
        return True

    async def evidence(self, subsystem: str) -> dict[str, str]:
        moves = self._moves(subsystem)
        return {**{name: str(count) for name, count in moves.counts.items()}, **moves.texts}

    async def trace(self, subsystem: str, message_id: str) -> dict[str, JSON] | None:
        for text in reversed(self._moves(subsystem).traces):
            trace: dict[str, JSON] = orjson.loads(text)
            if trace["id"] == message_id:
                return trace
        return None

    async def accept(self, subsystem: str, id: str, accepted: dict[str, JSON] | None) -> bool:
        there = self._moves(subsystem).accepted
        if accepted is None:
            return there.pop(id, None) is not None
        there[id] = canonical(accepted)
        return True

    async def accepted(self, subsystem: str) -> list[dict[str, JSON]]:
        return [orjson.loads(text) for text in self._moves(subsystem).accepted.values()]

    def routed(self, route: Route, entry: dict[str, JSON]) -> None:
        """Note that a route was set without a move."""
        moves = self._moves(route.subsystem)
        moves.log.append(f"{route.epoch} {route.changed_ms} ".encode() + canonical(entry))
        moves.record = b""

    def _moves(self, subsystem: str) -> _Moves:
        return self._of.setdefault(subsystem, _Moves())
