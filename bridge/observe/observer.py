"""Watch a Redis through one connection in MONITOR mode; nothing is written to it.

Redis copies every command to this connection and keeps in its own memory, without limit, what is
not read in time. So the observer stops by itself when Redis is busy, or reading falls behind.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bridge.errors import BridgeError, InvalidRequest
from bridge.joelclaw.envelopes import Envelopes
from bridge.joelclaw.outage import Outage
from bridge.joelclaw.shapes import invented
from bridge.observe.fates import Fates
from bridge.observe.ledger import Fault
from bridge.observe.monitor import at_ms_of, concerns, parse
from bridge.observe.recording import Recording
from bridge.observe.stream import Lost, MonitorStream
from bridge.observe.tally import Tally
from bridge.pause import pause
from bridge.redis.address import Address
from bridge.telemetry import Telemetry

LOOK_S = 1.0
MAX_GAPS = 1_000


class CannotObserve(Exception):
    """It did not begin; the text says why."""


class _Stopped(Exception):
    """It ends before its time; the text says why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop by itself: `busy_s` seconds above `commands_per_s`, or `behind_s` behind.

    A connection that is silent for `silent_s` is given up, and opened again.
    """

    commands_per_s: int = 10_000
    busy_s: int = 5
    behind_s: float = 5.0
    silent_s: float = 10.0


@dataclass(slots=True)
class Progress:
    """How the observation stands, by the server's clock."""

    from_ms: int = 0
    now_ms: int = 0
    commands: int = 0
    per_second: int = 0
    connected: bool = False
    gaps: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "from_ms": self.from_ms,
            "until_ms": self.now_ms,
            "commands": self.commands,
            "gaps": self.gaps,
        }


class Observer:
    """Open, then run; `tally` and `progress` may be looked at meanwhile."""

    def __init__(
        self,
        address: Address,
        telemetry: Telemetry,
        recording: Recording | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.tally = Tally()
        self.progress = Progress()
        self._address = address
        self._recording = recording
        self._limits = limits or Limits()
        self._fates = Fates(fault_by(Envelopes.load()))
        self._outage = Outage(telemetry, "observe")
        self._stream: MonitorStream | None = None
        self._why_lost = ""

    async def open(self) -> None:
        """Connect and begin. Raises CannotObserve."""
        try:
            await self._begin()
        except (Lost, _Stopped) as error:
            raise CannotObserve(str(error)) from None

    async def run(self, stop: asyncio.Event) -> str:
        """Observe until `stop`; return why it ended before that, or nothing.

        A lost connection is opened again. When it returns every event has its fate.
        """
        why = ""
        try:
            while not stop.is_set():
                if self._stream is None:
                    await self._again(stop)
                    continue
                try:
                    await self._watch(self._stream, stop)
                except Lost as error:
                    self._close(str(error))
        except _Stopped as stopped:
            why = str(stopped)
        if self._stream is None:
            why = why or f"the connection was lost and did not return: {self._why_lost}"
        connected = self._stream is not None
        self._close("")
        self._fates.finish(self.progress.now_ms, connected=connected)
        try:
            self._keep()
            self._write({"summary": self.summary(why)})
        except _Stopped as stopped:
            why = why or str(stopped)
        return why

    def summary(self, stopped: str) -> dict[str, Any]:
        ended = {"stopped": stopped} if stopped else {}
        return {**self.progress.as_json(), **self.tally.as_json(), **ended}

    # -- connecting -------------------------------------------------------------------------
    async def _begin(self) -> None:
        stream = await MonitorStream.connect(self._address, self._limits.silent_s)
        try:
            version, per_second = await stream.about()
            self._check_rate(per_second)
            found = await stream.begin()
        except BaseException:
            stream.close()
            raise
        self._stream, progress = stream, self.progress
        if not progress.from_ms:
            progress.from_ms = found.at_ms
            self._write(
                {
                    "recording": 1,
                    "at_ms": found.at_ms,
                    "redis": f"{self._address}/{self._address.database}",
                    "redis_version": version,
                    "sessions": found.sessions,
                }
            )
        else:
            gap = {"from_ms": progress.now_ms, "until_ms": found.at_ms, "why": self._why_lost}
            if len(progress.gaps) < MAX_GAPS:
                progress.gaps.append(gap)
            self._write({"gap": gap})
        progress.connected, progress.now_ms = True, found.at_ms
        self._fates.begin(found.at_ms, found.lists, found.mode)
        self._keep()

    async def _again(self, stop: asyncio.Event) -> None:
        """Open the connection again, with pauses that grow, until it is there or `stop`."""
        failure: Exception = Lost(self._why_lost)
        while not stop.is_set() and self._stream is None:
            await pause(self._outage.failed(failure), stop)
            if not stop.is_set():
                try:
                    await self._begin()
                except Lost as error:
                    failure = error
                else:
                    self._outage.over()

    def _close(self, why: str) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream, self._why_lost, self.progress.connected = None, why, False

    # -- watching ---------------------------------------------------------------------------
    async def _watch(self, stream: MonitorStream, stop: asyncio.Event) -> None:
        progress, limits = self.progress, self._limits
        busy = behind = 0
        seen, looked_s = progress.commands, time.monotonic()
        while True:
            self._take(stream)
            self._keep()
            if (now_s := time.monotonic()) - looked_s >= LOOK_S:
                progress.per_second = int((progress.commands - seen) / (now_s - looked_s))
                seen, looked_s = progress.commands, now_s
                busy = busy + 1 if progress.per_second > limits.commands_per_s else 0
                if busy >= limits.busy_s:
                    self._check_rate(progress.per_second)
                late_s = stream.look()
                # Twice: what was asked before a pause of Redis's own is answered after it.
                behind = behind + 1 if late_s > limits.behind_s else 0
                if behind > 1:
                    raise _Stopped(f"reading is {late_s:.0f} s behind Redis")
                if self._recording is not None:
                    with self._writing():
                        self._recording.flush()
            if stop.is_set():
                return
            await stream.receive()

    def _take(self, stream: MonitorStream) -> None:
        line = b""
        for line in stream.lines():
            self.progress.commands += 1
            if concerns(line):
                command = parse(line)
                if command is None:
                    raise Lost(f"no line of MONITOR: {line[:80]!r}")
                if command.db == self._address.database:
                    self._fates.see(command)
        self.progress.now_ms = at_ms_of(line) or self.progress.now_ms
        self._fates.advance(self.progress.now_ms)

    def _check_rate(self, per_second: int) -> None:
        limit = self._limits.commands_per_s
        if per_second > limit:
            raise _Stopped(
                f"Redis is busy: {per_second:,} commands a second, the limit is {limit:,}"
            )

    # -- keeping ----------------------------------------------------------------------------
    def _keep(self) -> None:
        for record in self._fates.take():
            self.tally.add(record)
            if self._recording is not None:
                with self._writing():
                    self._recording.record(record)

    def _write(self, line: dict[str, Any]) -> None:
        if self._recording is not None:
            with self._writing():
                self._recording.line(line)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._recording = None
            raise _Stopped(f"the recording cannot be written: {error.strerror}") from None


def fault_by(envelopes: Envelopes) -> Fault:
    """Return what says where an item is off the contract, and how if that shape is known."""

    def fault(item: bytes) -> str:
        try:
            envelopes.check("SystemEvent", item)
        except BridgeError as error:
            where = f"{error.detail['pointer'] or 'whole item'} breaks {error.detail['rule']}"
            readable = isinstance(error, InvalidRequest)
            shape = invented(json.loads(item)) if readable else None
            return f"{shape} ({where})" if shape else where
        return ""

    return fault
