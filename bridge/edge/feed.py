"""Topics that no subsystem is behind: who joined is told, sends the events, and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bridge.edge.contract import Contract
from bridge.edge.fanout import Follower, Subscriber
from bridge.journal.store import Journal
from bridge.journal.values import Event
from bridge.message import JSON
from bridge.telemetry import Telemetry
from bridge.turns import Turns


class Feed(Protocol):
    """What sends a topic's events, each to whom it will, from `joined` to `left`."""

    @property
    def contract(self) -> Contract: ...

    def joined(self, client: Callable[[Event], None]) -> None: ...

    def left(self, client: Callable[[Event], None]) -> None: ...

    async def answer(self, operation: str, request: JSON) -> JSON:
        """Return the reply to a push of one of the contract's operations; raises BridgeError."""
        ...


class FeedFollower(Follower):
    """In a follower's place: nothing is read, nothing is past, and so there is no gap."""

    shared = False

    def __init__(
        self, journal: Journal, telemetry: Telemetry, turns: Turns, subsystem: str, feed: Feed
    ) -> None:
        super().__init__(journal, telemetry, turns, subsystem, "0-0")
        self._feed = feed
        self._clients: dict[Subscriber, Callable[[Event], None]] = {}

    def __len__(self) -> int:
        return len(self._clients)

    def attach(self, subscription: Subscriber) -> None:
        def client(event: Event) -> None:
            subscription.push(event)

        self._clients[subscription] = client
        self._feed.joined(client)

    def detach(self, subscription: Subscriber) -> None:
        client = self._clients.pop(subscription, None)
        if client is not None:
            self._feed.left(client)

    async def has_gap(self, position: str) -> bool:
        return False

    async def catch_up(self, subscription: Subscriber, position: str) -> None:
        if subscription.channel.state == "joined":
            subscription.attach(self)
