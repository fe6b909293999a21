"""Deliver what a subsystem emitted: hold the lease, hand on the first in line, remove it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from bridge.errors import BridgeError
from bridge.joelclaw.outage import Outage
from bridge.joelclaw.outlet.outlet import (
    LEASE_MS,
    MAX_ATTEMPTS,
    DeliveryFailed,
    NotNow,
    Receiver,
)
from bridge.joelclaw.prompt import prompt_of
from bridge.joelclaw.quarantine import DELIVERIES_SOURCE, Put, Quarantined, text_of
from bridge.journal.store import Deliveries
from bridge.journal.values import Delivery
from bridge.redis.commands import Failures
from bridge.telemetry import Telemetry

FIRST_RETRY_MS = 1000
LAST_RETRY_MS = 60_000


class Deliverer:
    """Run it in every worker: the one that holds the lease delivers, in order, one at a time.

    The lease is renewed while the receiver has a delivery, however long that takes. A worker
    whose lease was taken by another, because it stood still, lets its delivery go. `token`
    begins with the outlet's kind and names the worker: `status` shows it. The receiver gets
    each event with its text for a language model, `prompt`, times of day told in `zone`.
    """

    def __init__(
        self,
        token: str,
        deliveries: Deliveries,
        receiver: Receiver,
        quarantine: Put,
        telemetry: Telemetry,
        *,
        zone: str = "UTC",
        lease_ms: int = LEASE_MS,
        first_retry_ms: int = FIRST_RETRY_MS,
    ) -> None:
        self._token = token
        self._deliveries = deliveries
        self._receiver = receiver
        self._quarantine = quarantine
        self._telemetry = telemetry
        self._zone = zone
        self._lease_ms = lease_ms
        self._rest_s = lease_ms / 3000  # how long at most nothing is asked of the journal
        self._first_retry_ms = first_retry_ms
        self._closing = asyncio.Event()
        self._outage = Outage(telemetry, "deliveries")

    async def run(self) -> None:
        """Deliver until `close`, through any trouble of the bridge's Redis."""
        while not self._closing.is_set():
            present = self._receiver.present
            try:
                if present:
                    await self._once()
                else:
                    await self._release()
                    await self._first_of(self._closing.wait(), self._receiver.change(present))
            except (BridgeError, *Failures) as error:
                await self._pause(self._outage.failed(error))
        await self._release()

    def close(self) -> None:
        """End `run`; what the receiver has in hand goes back into line."""
        self._closing.set()

    async def _once(self) -> None:
        """Deliver what is first in line, or wait for something to do."""
        hold = await self._deliveries.hold(self._token, self._lease_ms)
        self._outage.over()
        if hold.holder != self._token:
            await self._pause(self._rest_s)
        elif hold.first is None:
            await self._pause(self._rest_s, self._arrived())
        elif hold.first.attempts >= MAX_ATTEMPTS:
            await self._put_aside(hold.first)
        elif hold.first.wait_ms:
            await self._pause(min(hold.first.wait_ms / 1000, self._rest_s))
        else:
            await self._deliver(hold.first)

    async def _deliver(self, delivery: Delivery) -> None:
        position = delivery.event.position
        attempt = await self._deliveries.begin(self._token, position)
        if not attempt:
            return
        try:
            worded = self._worded(delivery)
            removed = await self._first_of(
                self._closing.wait(), self._lost(), self._receiver.deliver(worded)
            )
        except DeliveryFailed as failure:
            await self._failed(delivery, attempt, str(failure))
            return
        except NotNow:
            await self._insist(lambda: self._deliveries.give_back(self._token, position))
            self._telemetry.emit("delivery_waits")
            await self._pause(self._rest_s)
            return
        except Exception as error:  # a defect must not hold up what is behind this one
            self._telemetry.emit("defect", where="outlet", text=repr(error))
            await self._failed(delivery, attempt, repr(error))
            return
        if removed is not None:
            removed = removed or await self._insist(
                lambda: self._deliveries.done(self._token, position)
            )
            self._telemetry.emit("delivered" if removed else "delivery_lost")
        elif self._closing.is_set():
            with contextlib.suppress(BridgeError):  # then it counts as begun
                await self._deliveries.give_back(self._token, position)
        else:
            self._telemetry.emit("delivery_lost", text=f"{delivery.event.id}: another has it")

    def _worded(self, delivery: Delivery) -> Delivery:
        event = delivery.event
        prompt = prompt_of(event.type, event.payload, self._zone)
        worded = dataclasses.replace(event, payload={**event.payload, "prompt": prompt})
        return dataclasses.replace(delivery, event=worded)

    async def _failed(self, delivery: Delivery, attempt: int, text: str) -> None:
        longest_ms = min(self._first_retry_ms * 2 ** (attempt - 1), LAST_RETRY_MS)
        after_ms = int(longest_ms * random.uniform(0.5, 1))
        position = delivery.event.position
        await self._insist(lambda: self._deliveries.failed(self._token, position, text, after_ms))
        self._telemetry.emit("delivery_failed", text=f"{delivery.event.id}: {text}")
        await self._release()  # who receives at another worker may do better
        await self._pause(1.5 * self._rest_s)

    async def _lost(self) -> None:
        """Renew the lease until another has it."""
        while True:
            await asyncio.sleep(self._rest_s)
            with contextlib.suppress(BridgeError):  # it lasts for longer than one renewal
                hold = await self._deliveries.hold(self._token, self._lease_ms)
                if hold.holder != self._token:
                    return

    async def _put_aside(self, delivery: Delivery) -> None:
        """Keep in the quarantine what was begun too often, and release the next."""
        event = delivery.event
        error = delivery.error or "nobody who began it lived to end it"
        await self._quarantine(
            Quarantined(
                id=event.id,
                at_ms=time.time_ns() // 1_000_000,
                source=DELIVERIES_SOURCE,
                code="runtime_fault",
                message=f"not delivered in {delivery.attempts} attempts: {error}",
                detail={"subsystem": event.subsystem, "attempts": delivery.attempts},
                raw=text_of(delivery.text),
            )
        )
        await self._deliveries.done(self._token, event.position)
        self._telemetry.emit("quarantined", code="runtime_fault", text=f"{event.id}: {error}")

    # -- waiting ----------------------------------------------------------------------------
    async def _insist(self, tell: Callable[[], Awaitable[bool]]) -> bool:
        """Tell the journal how a delivery ended, as often as it takes: it must not come again."""
        while True:
            try:
                told = await tell()
            except BridgeError as error:
                await asyncio.sleep(self._outage.failed(error))
            else:
                self._outage.over()
                return told

    async def _release(self) -> None:
        with contextlib.suppress(BridgeError):  # then it runs out
            await self._deliveries.release(self._token)

    async def _arrived(self) -> None:
        await self._deliveries.arrived(int(self._rest_s * 1000))

    async def _pause(
        self, seconds: float, sooner: Coroutine[Any, Any, Any] | None = None
    ) -> None:
        """Wait so long, or until `sooner` is done, told to close, or the receiver changes."""
        await self._first_of(
            self._closing.wait(),
            self._receiver.change(self._receiver.present),
            sooner or asyncio.sleep(seconds),
        )

    @staticmethod
    async def _first_of(*waits: Coroutine[Any, Any, Any]) -> Any:
        """Wait for the first to end, cancel the others; return the last one's result or None."""
        tasks = [asyncio.create_task(wait) for wait in waits]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        return tasks[-1].result() if tasks[-1] in done else None
