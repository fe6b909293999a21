"""What waits for one client: bounded in frames and bytes, empty while the client keeps up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol


class Writer(Protocol):
    """The socket beneath; `Connection` is one."""

    def can_write(self) -> bool: ...

    def write(self, frame: bytes) -> None: ...


class Batch(NamedTuple):
    """Frames in a row, and the same as one piece: made once, for however many clients."""

    frames: tuple[bytes, ...]
    together: bytes


class Backlog:
    """Write frames in order while the client reads them, else queue them.

    When the queue is full it is dropped and `overflowed` is called, once: a client that cannot
    keep up is closed, and comes back with `since`. A frame sent to many clients is one object.
    """

    __slots__ = (
        "_bytes",
        "_closed",
        "_frames",
        "_max_bytes",
        "_max_frames",
        "_overflowed",
        "_room",
        "_writer",
    )

    def __init__(
        self, writer: Writer, max_frames: int, max_bytes: int, overflowed: Callable[[], None]
    ) -> None:
        self._writer = writer
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._overflowed = overflowed
        self._frames: deque[bytes] | None = None
        self._bytes = 0
        self._room: asyncio.Event | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._frames) if self._frames is not None else 0

    def send(self, frame: bytes) -> None:
        if self._frames is None:
            if self._closed:
                return
            if self._writer.can_write():
                self._writer.write(frame)
                return
            self._frames = deque()
        # One frame larger than the bound still passes, when it is alone.
        if self._frames and (
            len(self._frames) >= self._max_frames or self._bytes + len(frame) > self._max_bytes
        ):
            self.close()
            self._overflowed()
            return
        self._frames.append(frame)
        self._bytes += len(frame)

    def send_all(self, batch: Batch) -> None:
        """Send frames in a row: in one piece to a client that keeps up."""
        if self._frames is None and not self._closed and self._writer.can_write():
            self._writer.write(batch.together)
            return
        for frame in batch.frames:
            self.send(frame)

    def flush(self) -> None:
        """Write what waits; the socket calls it when the client reads again."""
        while self._frames is not None and self._writer.can_write():
            frame = self._frames.popleft()
            self._bytes -= len(frame)
            if not self._frames:
                self._frames = None
            self._writer.write(frame)
        if self._room is not None and self.half_empty():
            self._room.set()
            self._room = None

    def close(self) -> None:
        """Drop what waits and take nothing more."""
        self._closed = True
        self._frames = None
        self._bytes = 0
        if self._room is not None:
            self._room.set()
            self._room = None

    async def room(self) -> None:
        """Wait until the queue is half empty, or closed: for senders that can wait."""
        while not self._closed and not self.half_empty():
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    def half_empty(self) -> bool:
        """Say whether at most half of the queue is taken."""
        return len(self) <= self._max_frames // 2 and self._bytes <= self._max_bytes // 2
