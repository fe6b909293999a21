"""Events to joined clients: one reader per subsystem, each event encoded once per protocol.

A follower reads its subsystem's stream from one position and pushes what it reads to the attached
subscriptions. A client that comes back with `since` is brought up to the follower's position from
its recent events or, further back, from the journal, and is attached in the same step: nothing is
lost, repeated or out of order in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from bridge.channels.frames import V1, V2, Frame
from bridge.channels.session import Channel
from bridge.edge.backlog import Backlog, Batch
from bridge.edge.connection import text_frame
from bridge.edge.shelf import Shelf
from bridge.errors import BridgeError
from bridge.journal.records import PRESENCE_DIFF
from bridge.journal.store import Journal
from bridge.journal.values import Event, PositionGone
from bridge.message import JSON
from bridge.telemetry import Telemetry
from bridge.turns import Turns

PAGE = 500
TURN_DELIVERIES = 64  # handed out before others have their turn
BATCH_BYTES = 65_536  # pushed in one piece; a client's backlog is looked at before each
RECENT = 256  # events a follower keeps for clients that come back soon
CATCH_UPS = 16  # pages of older events that are read from the journal at once, per subsystem
LEAST_KEPT = 100  # the least that setting events_keep takes
WAIT_MS = 1_000  # how late a client is told that the storage is another one
FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 2.0


class Stream(Protocol):
    """Who has a key's events once for many clients: the edge of a Phoenix node."""

    def take(self, events: list[Event]) -> None:
        """Queue events, in the very step in which the follower's position passes them."""
        ...

    def lose(self) -> None:
        """Expel every client: events are missing, or the storage is another one."""
        ...


class Subscriber(Protocol):
    """What a follower brings up to its position, then attaches."""

    @property
    def channel(self) -> Channel: ...

    @property
    def backlog(self) -> Room: ...

    @property
    def expel(self) -> Callable[[Channel], None]: ...

    def push(self, event: Event) -> None: ...

    def attach(self, follower: Follower) -> None:
        """Get every event after the follower's position from now on."""
        ...


class Room(Protocol):
    """Where a subscriber's events wait; `Backlog` is one."""

    def half_empty(self) -> bool: ...

    async def room(self) -> None: ...


class Subscription:
    """One channel that gets events. `expel` ends it from this side; the client joins again."""

    __slots__ = ("backlog", "channel", "codec", "expel")

    def __init__(
        self, channel: Channel, codec: V1 | V2, backlog: Backlog, expel: Callable[[Channel], None]
    ) -> None:
        self.channel = channel
        self.codec = codec
        self.backlog = backlog
        self.expel = expel

    def push(self, event: Event) -> None:
        self.backlog.send(_encoded(event, self))

    def attach(self, follower: Follower) -> None:
        follower.attach(self)


class Follower:
    """Reads one subsystem's events and pushes them to the subscriptions of their key.

    `shared`: all who follow a key get the same events.
    """

    shared = True

    def __init__(
        self,
        journal: Journal,
        telemetry: Telemetry,
        turns: Turns,
        subsystem: str,
        position: str,
    ) -> None:
        self.position = position
        self._journal = journal
        self._telemetry = telemetry
        self._subsystem = subsystem
        self._oldest = position  # the position before the first of `_recent`
        self._recent: deque[Event] = deque()
        self._attached: dict[str, set[Subscription]] = {}
        self._streams: dict[str, set[Stream]] = {}
        self._shelf = Shelf(self._read, CATCH_UPS)
        self._advanced = asyncio.Event()
        self._turns = turns

    def __len__(self) -> int:
        sockets = sum(map(len, self._attached.values()))
        return sockets + sum(map(len, self._streams.values()))

    def attach(self, subscription: Subscription) -> None:
        """Push every event after `position` from now on."""
        self._attached.setdefault(subscription.channel.key, set()).add(subscription)

    def detach(self, subscription: Subscription) -> None:
        key = subscription.channel.key
        attached = self._attached.get(key, set())
        attached.discard(subscription)
        if not attached:
            self._attached.pop(key, None)

    def add(self, key: str, stream: Stream) -> None:
        """Hand a key's events after `position` to a stream from now on."""
        self._streams.setdefault(key, set()).add(stream)

    def remove(self, key: str, stream: Stream) -> None:
        streams = self._streams.get(key, set())
        streams.discard(stream)
        if not streams:
            self._streams.pop(key, None)

    async def has_gap(self, position: str) -> bool:
        """Say whether events after `position` cannot be replayed any more."""
        return self._after(position) is None and await self._journal.has_gap(
            self._subsystem, position
        )

    async def catch_up(self, subscription: Subscriber, position: str) -> None:
        """Push the events after `position`, then attach; stop when the channel is left.

        It waits for a slow client instead of filling its queue.
        """
        channel, backlog = subscription.channel, subscription.backlog
        done = 0
        while channel.state == "joined":
            recent = self._after(position)
            if recent is not None:
                events = [event for event in recent if event.key == channel.key]
                end, waited = self.position, False
            else:
                events, end = await self._older(subscription, position)
                waited = True
            for event in events:
                if not backlog.half_empty():
                    await backlog.room()
                    waited = True
                if channel.state != "joined":
                    return
                subscription.push(event)
            position = end
            if not waited:
                subscription.attach(self)
                return
            done += 1 + len(events)
            if done >= TURN_DELIVERIES:
                await self._turns.next()
                done = 0

    async def _older(self, subscription: Subscriber, position: str) -> tuple[list[Event], str]:
        """Return a page's events for a subscription, and where it ends; wait for the follower
        where there are none.
        """
        known = self.position
        retry_s = FIRST_RETRY_S
        while True:
            try:
                page = await self._shelf.page(position)
                break
            except BridgeError as error:
                retry_s = await self._back_off("catch_up_failed", error, retry_s)
        if page is None:
            subscription.expel(subscription.channel)  # the next join is told of the gap
            return [], position
        if page.end == position and self.position == known:
            await self._advanced.wait()  # it has yet to read what we have already read
        return page.after(position, subscription.channel.key), page.end

    async def follow(self) -> None:
        """Read and push until cancelled, through any trouble of the journal's."""
        retry_s = FIRST_RETRY_S
        while True:
            try:
                events = await self._read(self.position, WAIT_MS)
                if events is None:
                    self._telemetry.emit("events_missed", subsystem=self._subsystem)
                    self._start_over(await self._journal.last_position(self._subsystem))
            except BridgeError as error:
                retry_s = await self._back_off("follower_failed", error, retry_s)
                continue
            retry_s = FIRST_RETRY_S
            if events:
                await self._publish(events)

    async def _read(self, position: str, wait_ms: int = 0) -> list[Event] | None:
        """Return one page of events, None if some after `position` were trimmed before it, or
        are gone with the storage.

        The former can only be when as many were left as are always kept.
        """
        try:
            page = await self._journal.events_after(self._subsystem, position, PAGE, wait_ms)
        except PositionGone:
            return None
        if len(page) >= LEAST_KEPT and await self._journal.has_gap(self._subsystem, position):
            return None
        return page

    async def _back_off(self, name: str, error: BridgeError, retry_s: float) -> float:
        self._telemetry.emit(name, subsystem=self._subsystem, code=error.code, text=str(error))
        await asyncio.sleep(retry_s)
        return min(retry_s * 2, LONGEST_RETRY_S)

    async def _publish(self, events: list[Event]) -> None:
        """Advance, then push to everyone who was attached before, a bounded number in a turn.

        Who attaches meanwhile does so at the new position, and has what was before from there.
        """
        of_key: dict[str, list[Event]] = {}
        for event in events:
            if event.key in self._attached or event.key in self._streams:
                of_key.setdefault(event.key, []).append(event)
        receivers = {key: list(self._attached.get(key, ())) for key in of_key}
        self._recent.extend(events)
        while len(self._recent) > RECENT:
            self._oldest = self._recent.popleft().position
        self.position = events[-1].position
        for key, theirs in of_key.items():
            for stream in self._streams.get(key, ()):
                stream.take(theirs)
        self._wake()
        done = 0
        for key, theirs in of_key.items():
            encoded: dict[str, list[Batch]] = {}
            for subscription in receivers[key]:
                version = subscription.codec.version
                if version not in encoded:
                    encoded[version] = _batches(theirs, subscription)
                    done += len(theirs)
                for batch in encoded[version]:
                    if done >= TURN_DELIVERIES:
                        await self._turns.next()
                        done = 0
                    if subscription.channel.state == "joined":
                        subscription.backlog.send_all(batch)
                        done += 1

    def _wake(self) -> None:
        advanced, self._advanced = self._advanced, asyncio.Event()
        advanced.set()

    def _after(self, position: str) -> list[Event] | None:
        """Return the recent events after a position; None if they do not reach back to it."""
        if position == self.position:
            return []
        if position == self._oldest:
            return list(self._recent)
        for n, event in enumerate(self._recent):
            if event.position == position:
                return list(self._recent)[n + 1 :]
        return None

    def _start_over(self, position: str) -> None:
        """Expel everyone and go on from `position`: on the next join each is told of the gap."""
        self._recent.clear()
        self._shelf.clear()
        self._oldest = self.position = position
        self._wake()
        for attached in list(self._attached.values()):
            for subscription in list(attached):
                subscription.expel(subscription.channel)
        for streams in list(self._streams.values()):
            for stream in list(streams):
                stream.lose()


class Fanout:
    """The followers: each starts with the first join of its subsystem, and then goes on."""

    def __init__(self, journal: Journal, telemetry: Telemetry) -> None:
        self._journal = journal
        self._telemetry = telemetry
        self.turns = Turns()
        self._followers: dict[str, Follower] = {}
        self._starting: dict[str, asyncio.Task[Follower]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, subsystem: str, follower: Follower) -> None:
        """Use a follower that needs no start."""
        self._followers[subsystem] = follower

    def running(self, subsystem: str) -> Follower | None:
        return self._followers.get(subsystem)

    def counts(self) -> dict[str, int]:
        return {name: len(follower) for name, follower in sorted(self._followers.items())}

    async def follower(self, subsystem: str) -> Follower:
        """Return the subsystem's follower; concurrent callers share its start."""
        if subsystem in self._followers:
            return self._followers[subsystem]
        start = self._starting.get(subsystem)
        if start is None:
            start = asyncio.create_task(self._start(subsystem))
            self._starting[subsystem] = start
            start.add_done_callback(lambda _: self._starting.pop(subsystem, None))
        return await asyncio.shield(start)

    async def close(self) -> None:
        tasks = [*self._tasks, *self._starting.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(self, subsystem: str) -> Follower:
        position = await self._journal.last_position(subsystem)
        follower = Follower(self._journal, self._telemetry, self.turns, subsystem, position)
        self._followers[subsystem] = follower
        self._tasks.add(asyncio.create_task(self._run(follower)))
        return follower

    async def _run(self, follower: Follower) -> None:
        while True:
            try:
                await follower.follow()
            except Exception as error:  # a defect must not silence a subsystem: count, go on
                self._telemetry.emit("defect", where="follower", text=repr(error))
                await asyncio.sleep(LONGEST_RETRY_S)


def _batches(events: list[Event], one: Subscription) -> list[Batch]:
    """Encode events for every subscription like this one, in pieces."""
    batches: list[Batch] = []
    frames: list[bytes] = []
    size = 0
    for event in events:
        frame = _encoded(event, one)
        if frames and size + len(frame) > BATCH_BYTES:
            batches.append(Batch(tuple(frames), b"".join(frames)))
            frames, size = [], 0
        frames.append(frame)
        size += len(frame)
    return [*batches, Batch(tuple(frames), b"".join(frames))]


def _encoded(event: Event, one: Subscription) -> bytes:
    # No join_ref, as in Phoenix's broadcasts: one frame fits every channel.
    frame = Frame(None, None, one.channel.topic, event.type, body_of(event))
    return text_frame(one.codec.encode(frame))


def body_of(event: Event) -> JSON:
    """Return an event's payload, as clients get it."""
    if event.type == PRESENCE_DIFF:
        return event.payload
    return {
        "position": event.position,
        "key": event.key,
        "seq": event.seq,
        "n": event.n,
        "id": event.id,
        "payload": event.payload,
    }
