"""Deliver to WebSocket clients: who joined `outlet:gateway` gets the first in line, and tells.

A client answers each with the push `ack {"id": ...}`. What nobody acknowledged comes again: to
a client that joins later at once, to those who had it after `ack_ms`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeVar

from bridge.contracts.files import CONTRACTS, read_json
from bridge.contracts.validation import CompiledSchema
from bridge.errors import BridgeError, InvalidRequest
from bridge.joelclaw.outlet.outlet import TOPIC, DeliveryFailed, NotNow
from bridge.journal.store import Deliveries
from bridge.journal.values import Delivery, Event
from bridge.message import JSON
from bridge.patience import timeout

KEY = "gateway"
ACK_MS = 60_000
REMEMBERED = 256  # acknowledged ids, so that a repeated `ack` is no error

Client = Callable[[Event], None]
T = TypeVar("T")


class AckOperation(NamedTuple):
    """What the edge needs to know of `ack`."""

    kind: Literal["command"] = "command"
    content_type: None = None


class OutletContract:
    """The contract of the topic `outlet:gateway`: contracts/joelclaw/outlet.schema.json."""

    presence = False
    told_who_is_there = ""

    def __init__(self) -> None:
        definitions = read_json(CONTRACTS / "joelclaw" / "outlet.schema.json")["$defs"]
        schema = {"$ref": "#/$defs/Ack"}
        self._ack = CompiledSchema("outlet ack request", schema, definitions)

    def operation(self, name: str) -> AckOperation:
        if name != "ack":
            raise BridgeError(
                "unknown_operation",
                f"{TOPIC} has no operation {name[:64]!r}, expected ack",
                expected=["ack"],
                actual=name[:64],
            )
        return AckOperation()

    def check_key(self, key: str) -> None:
        if key != KEY:
            raise BridgeError(
                "unknown_topic",
                f"expected {TOPIC}:{KEY}, got {TOPIC}:{key[:64]}",
                expected=f"{TOPIC}:{KEY}",
                actual=f"{TOPIC}:{key[:64]}",
            )

    def check_ack(self, request: JSON) -> str:
        """Return the id that is acknowledged."""
        violation = self._ack.violation(request)
        if violation is not None:
            raise InvalidRequest(violation)
        return str(request["id"])


class TopicReceiver:
    """The clients of this worker; all of them get a delivery, the first `ack` counts.

    `token` is the deliverer's.
    """

    def __init__(self, deliveries: Deliveries, token: str, *, ack_ms: int = ACK_MS) -> None:
        self._deliveries = deliveries
        self._token = token
        self._ack_ms = ack_ms
        self._contract = OutletContract()
        self._clients: list[Client] = []
        self._changed = asyncio.Event()
        self._offered: Delivery | None = None
        # By id, what was sent to clients and what they acknowledged; the oldest are forgotten.
        self._sent: dict[str, Delivery] = {}
        self._acknowledged: dict[str, None] = {}

    @property
    def contract(self) -> OutletContract:
        return self._contract

    # -- clients, as the edge tells of them -------------------------------------------------
    def joined(self, client: Client) -> None:
        self._clients.append(client)
        if self._offered is not None:
            client(self._offered.event)
        self._wake()

    def left(self, client: Client) -> None:
        self._clients.remove(client)
        self._wake()

    async def answer(self, operation: str, request: JSON) -> JSON:
        """Answer `ack` once what it names is out of the line, also one that comes late.

        Raises BridgeError: nothing of this id was sent here, or Redis does not answer.
        """
        id = self._contract.check_ack(request)
        if id in self._acknowledged:
            return {}
        sent = self._sent.get(id)
        if sent is None or not await self._done(sent):
            raise BridgeError(
                "invalid_request",
                "/id: nothing of this id waits for an acknowledgement here; what is not "
                "delivered comes again",
                pointer="/id",
                expected=self._offered.event.id if self._offered else None,
                actual=id,
            )
        del self._sent[id]
        _remember(self._acknowledged, id, None)
        self._wake()
        return {}

    # -- receiver ---------------------------------------------------------------------------
    @property
    def present(self) -> bool:
        return bool(self._clients)

    async def change(self, present: bool) -> None:
        while self.present == present:
            await self._changed.wait()

    async def deliver(self, delivery: Delivery) -> bool:
        id = delivery.event.id
        self._offered = delivery
        _remember(self._sent, id, delivery)
        for client in list(self._clients):
            client(delivery.event)
        try:
            async with timeout(self._ack_ms / 1000):
                while id in self._sent:
                    if not self._clients:
                        raise NotNow("every client left")
                    await self._changed.wait()
        except TimeoutError:
            raise DeliveryFailed(
                f"not acknowledged within {self._ack_ms / 1000:g} s, "
                f"clients: {len(self._clients)}"
            ) from None
        finally:
            self._offered = None
        return True

    async def _done(self, delivery: Delivery) -> bool:
        return await self._deliveries.done(self._token, delivery.event.position)

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _remember(ids: dict[str, T], id: str, what: T) -> None:
    ids.pop(id, None)
    ids[id] = what
    if len(ids) > REMEMBERED:
        del ids[next(iter(ids))]
