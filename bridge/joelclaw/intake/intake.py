"""The owner of joelclaw's session `gateway`: takes its events, loses none.

One worker at a time holds the lease. It moves each item, the oldest first, from joelclaw's list
into a list of its own and removes it there once the outcome is committed. Whoever holds the lease
next adopts what a dead worker left; an item keeps its message id, so what was committed before
the worker died is not handled again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from bridge.errors import BridgeError
from bridge.joelclaw import SUBSYSTEM
from bridge.joelclaw.envelopes import mended
from bridge.joelclaw.intake.in_flight import (
    CONTROL,
    DOORBELLS,
    LEASE_MS,
    Entry,
    InFlight,
    Taken,
)
from bridge.joelclaw.outage import Outage
from bridge.joelclaw.quarantine import Put, Quarantined, text_of
from bridge.joelclaw.sessions import SESSION
from bridge.message import JSON, Message
from bridge.pause import pause
from bridge.redis.commands import Failures, cancellations

if TYPE_CHECKING:
    from bridge.dispatch import Dispatcher
    from bridge.joelclaw.envelopes import Envelopes
    from bridge.journal.store import Journal
    from bridge.telemetry import Telemetry

SWEEP_S = 2.0  # how late an event without doorbell is found; also renews the lease
MAX_IN_FLIGHT = 50
MARGIN_S = 0.5  # before the lease ends everything is over
FAULTS = 3  # of the implementation, after which an item goes to the quarantine
ECHO = "bridge/"  # what the `source` of our own events begins with
AGENT_HEARTBEAT = "gateway:agent:heartbeat"
AGENT_HEARTBEAT_MS = 60_000
AGENT_HEARTBEAT_EVERY_S = 15.0


class NotHolding(Exception):
    """Another worker may have the lease: leave the rest to it."""


class Intake:
    """Run it in every worker; only one of them takes. `redis` and `listener` are joelclaw's."""

    name = "intake"

    def __init__(
        self,
        worker: str,
        redis: Redis,
        listener: Redis,
        quarantine: Put,
        envelopes: Envelopes,
        dispatcher: Dispatcher,
        journal: Journal,
        telemetry: Telemetry,
        *,
        timeout_ms: int,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._worker = worker
        self._redis = redis
        self._listener = listener
        self._in_flight = InFlight(redis, worker)
        self._quarantine = quarantine
        self._envelopes = envelopes
        self._dispatcher = dispatcher
        self._journal = journal
        self._telemetry = telemetry
        self._timeout_ms = timeout_ms
        self._new_id = new_id
        self._wake = asyncio.Event()
        self._told = asyncio.Event()  # that the state changed, or to end
        self._closing = asyncio.Event()
        self._asked_at = 0.0  # on the loop's clock
        self._held_until = 0.0
        self._alive_until = 0.0
        self._taking = False  # this worker was the last to take, and nobody has released it
        self._outage = Outage(telemetry, "intake")

    @property
    def holding(self) -> bool:
        return asyncio.get_running_loop().time() < self._held_until

    async def run(self) -> None:
        """Take and hand on until `close`, through any trouble of joelclaw's Redis."""
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self._listen())
            renewing = tasks.create_task(self._renew())
            while not self._closing.is_set():
                self._wake.clear()
                try:
                    more = await self._once()
                    self._outage.over()
                except NotHolding:
                    more = False
                except (BridgeError, *Failures) as error:
                    await pause(self._outage.failed(error), self._closing)
                    continue
                if not more:
                    await pause(SWEEP_S, self._wake)
            listening.cancel()
            renewing.cancel()
        with contextlib.suppress(BridgeError, *Failures):  # then the next holder adopts it
            await self._give_back()

    def close(self) -> None:
        """End `run` after the item in hand; what was not begun goes back to joelclaw's list."""
        for event in (self._closing, self._told, self._wake):
            event.set()

    def status(self) -> dict[str, JSON]:
        return {"holding": self.holding}

    async def _once(self) -> bool:
        """Take what there is and hand it on; say whether there may be more."""
        if not self._closing.is_set():
            self._told.clear()
        taken = await self._take(MAX_IN_FLIGHT)
        if taken.state == "releasing" and taken.holding:
            await self._give_back()
            return False
        if taken.state == "" and self._taking:  # a Redis that came back without its data
            self._telemetry.emit("intake_taken_again", text="joelclaw's Redis had forgotten it")
            return await self._in_flight.change("taken", "")
        if taken.holding:
            await self._show_life()
        for entry in taken.entries:
            if self._told.is_set():
                break
            await self._handle(entry)
        return len(taken.entries) > 0

    async def _take(self, room: int) -> Taken:
        """Take items and renew the lease; notes how long this worker holds it."""
        sent = self._asked_at = asyncio.get_running_loop().time()
        taken = await self._in_flight.take([self._new_id() for _ in range(room)])
        if taken.state != "taken" or not taken.holding:
            self._held_until = 0.0
            self._taking = self._taking and taken.state == ""
            return taken
        self._taking = True
        if not self.holding:
            self._telemetry.emit("intake_holding", worker=self._worker)
        self._held_until = sent + LEASE_MS / 1000
        return taken

    async def _show_life(self) -> None:
        """Keep joelclaw's sign of life of whoever answers the gateway's events.

        Only the loop that hands items on does: if it hangs, the sign expires.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._alive_until:
            life = {"checkedAt": time.time_ns() // 1_000_000, "state": "running"}
            with contextlib.suppress(OutOfMemoryError):  # what is taken makes room
                await self._redis.set(AGENT_HEARTBEAT, orjson.dumps(life), px=AGENT_HEARTBEAT_MS)
                self._alive_until = now + AGENT_HEARTBEAT_EVERY_S

    async def _give_back(self) -> None:
        self._held_until = 0.0
        _, _, entries = await self._in_flight.adopt()
        try:
            given = await hand_back(self._in_flight, entries, self._journal)
        except BridgeError:  # who releases it does not wait for the bridge's Redis
            await self._in_flight.let_go()
            raise
        if given:
            self._telemetry.emit("intake_gave_back", text=f"{given} events")

    # -- one item ---------------------------------------------------------------------------
    async def _handle(self, entry: Entry) -> None:
        echo = False
        try:
            event = self._event(entry.item)
            if echo := event["source"].startswith(ECHO):
                self._telemetry.emit("intake_echo", text=f"{event['id']!r}, {event['source']!r}")
            else:
                await self._dispatch(entry, event)
        except BridgeError as error:
            await self._refuse(entry, error)
        if not await self._in_flight.done(entry, echo=echo):
            raise NotHolding

    def _event(self, item: bytes) -> dict[str, JSON]:
        """Return the event of an item. Raises BridgeError for what is off its contract."""
        try:
            event = self._envelopes.check("SystemEvent", item)
        except BridgeError as error:
            found = mended(item) if error.code in ("invalid_text", "invalid_request") else None
            if found is None:
                raise
            whole, wrong = found
            event = self._envelopes.check("SystemEvent", whole)
            self._telemetry.emit("intake_mended", text=f"{event['id']}: {wrong}")
        return dict(event)

    async def _dispatch(self, entry: Entry, event: object) -> None:
        """Repeat until there is an outcome; raises BridgeError if repeating is of no use."""
        message = Message(entry.message_id, SUBSYSTEM, SESSION, "receive", {"event": event})
        waiting = Outage(self._telemetry, "intake_owner")
        faults = 0
        while not self._told.is_set() and (left_ms := self._left_ms()) > 0:
            try:
                # Not beyond the lease: nothing is committed that another worker may have by then.
                await self._dispatcher.dispatch(
                    message, timeout_ms=min(left_ms, self._timeout_ms)
                )
            except BridgeError as error:
                failure = error
            except Exception as error:  # a defect of ours must not end the worker
                self._telemetry.emit("defect", where="intake", text=repr(error))
                failure = BridgeError("internal", repr(error))
            else:
                waiting.over()
                return
            faults += failure.code in ("runtime_fault", "internal")
            if faults >= FAULTS or not (failure.retryable or failure.code == "runtime_fault"):
                raise failure
            await pause(waiting.failed(failure), self._told)
        raise NotHolding

    def _left_ms(self) -> int:
        """Return how long something may take that is begun now."""
        left_s = self._held_until - MARGIN_S - asyncio.get_running_loop().time()
        return int(left_s * 1000)

    async def _refuse(self, entry: Entry, error: BridgeError) -> None:
        """Keep what is off contract; while the bridge's Redis is away it stays in flight."""
        item = Quarantined(
            id=entry.message_id,
            at_ms=time.time_ns() // 1_000_000,
            source=f"events:{entry.session}",
            code=error.code,
            message=error.message,
            detail=error.detail,
            raw=text_of(entry.item),
        )
        await self._quarantine(item)
        self._telemetry.emit("quarantined", code=error.code, text=f"{item.id}: {error.message}")

    # -- beside it --------------------------------------------------------------------------
    async def _renew(self) -> None:
        """Keep the lease while items take their time; the sweep does so otherwise."""
        outage = Outage(self._telemetry, "intake_lease")
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                if self.holding and loop.time() > self._asked_at + 1.5 * SWEEP_S:
                    await self._take(0)
                outage.over()
            except Failures as error:
                outage.failed(error)

    async def _listen(self) -> None:
        """Wake at doorbells and when the state changes. What is missed the sweep finds."""
        outage = Outage(self._telemetry, "intake_doorbells")
        while True:
            try:
                async with self._listener.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(CONTROL, *DOORBELLS)
                    if cancellations():
                        raise asyncio.CancelledError
                    outage.over()
                    async for message in pubsub.listen():
                        if message["channel"] == CONTROL.encode():
                            self._told.set()
                            self._wake.set()
                        elif self.holding:
                            self._wake.set()
            except Failures as error:
                await asyncio.sleep(outage.failed(error))


async def hand_back(in_flight: InFlight, entries: list[Entry], journal: Journal) -> int:
    """Put what is in flight back into joelclaw's list, but for what was committed; return how
    many went back. Raises BridgeError if the journal cannot tell.
    """
    done = [
        entry
        for entry in entries
        if (await journal.read(SUBSYSTEM, SESSION, entry.message_id)).done is not None
    ]
    return await in_flight.give_back(done)
