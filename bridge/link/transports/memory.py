"""A transport within one process: two ends, each reading what the other writes."""

from __future__ import annotations

import asyncio

from bridge.link.transport import Receiver


class Memory:
    """One end of a `pair`. With `reads` False it is a peer that does not read."""

    def __init__(self) -> None:
        self.peer: Memory | None = None
        self._loop = asyncio.get_running_loop()
        self._receiver: Receiver | None = None
        self._inbox: list[bytes] = []
        self._reads = True

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._loop.call_soon(self._deliver)

    @property
    def reads(self) -> bool:
        return self._reads

    @reads.setter
    def reads(self, reads: bool) -> None:
        self._reads = reads
        self._loop.call_soon(self._deliver)

    def write(self, data: bytes) -> bool:
        peer = self.peer
        if peer is None:
            return False
        peer._inbox.append(data)
        self._loop.call_soon(peer._deliver)
        return peer._reads

    def pause(self) -> None:
        self.reads = False

    def resume(self) -> None:
        self.reads = True

    def close(self) -> None:
        peer, self.peer, self._receiver = self.peer, None, None
        if peer is not None:
            peer.peer = None
            self._loop.call_soon(peer._end)

    def _deliver(self) -> None:
        if self._receiver is None or not self._reads or not self._inbox:
            return
        data = b"".join(self._inbox)
        self._inbox.clear()
        self._receiver.received(data)
        if self.peer is not None and self.peer._receiver is not None:
            self.peer._receiver.written()

    def _end(self) -> None:
        self._deliver()
        if self._receiver is not None:
            self._receiver.lost("end of file")


def pair() -> tuple[Memory, Memory]:
    """Return two connected ends; needs a running event loop."""
    one, other = Memory(), Memory()
    one.peer, other.peer = other, one
    return one, other
