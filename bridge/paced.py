"""A peer's bytes, handed on in bounded turns: stands between a transport and its protocol.

What comes at once and is little is handed on at once. Of a peer that sends more, one turn of
the loop takes a small number of things and of bytes, in rotation with other such peers, and
nothing more is read from it meanwhile. A protocol says by `charge` how many things it found;
what it writes counts as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from bridge.patience import Due, due_in
from bridge.turns import Turns

READ_BYTES = 16_384  # the rest waits in the system's buffer, and holds up its sender
AT_ONCE_ITEMS = 64  # of a peer that is not in the rotation
TURN_ITEMS = 8  # of one that is: all others wait for it, in each turn their own work needs
TURN_BYTES = 16_384
# Handed on in one piece: of many small things, and of one large thing. How far a turn may go
# beyond its bounds: the smallest frame has 6 bytes.
LEAST_PIECE_BYTES = 128
PIECE_BYTES = 1_024
HEAVY_S = 0.05  # without a portion, until a peer counts as one that sends little
UNREAD_BYTES = 1_048_576  # of answers a peer does not read, before nothing more of it is read
LINGER_S = 2.0
DROP_S = (
    0.01  # between reads of what is dropped: a peer that only sends would be read without end
)


class Paceable(Protocol):
    """An asyncio protocol; `stalled` is called when its peer reads nothing for too long."""

    def connection_made(self, transport: asyncio.Transport) -> None: ...

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> bool | None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def stalled(self) -> None: ...


class Pacing:
    """What the connections of one server share."""

    def __init__(self, turns: Turns, stall_s: float) -> None:
        """`stall_s`: how long a peer may read nothing of what waits for it."""
        self.turns = turns
        self.stall_s = stall_s
        self.buffer = memoryview(bytearray(READ_BYTES))  # each read is copied out at once


class Paced(asyncio.BufferedProtocol, asyncio.Transport):
    """The protocol of a transport, and the transport of a protocol.

    `close` lets the peer read what was written before: it sends end of file, drops what still
    comes for up to 2 s, not faster than 1.6 MB/s, then closes. Data that a peer has sent and
    nobody reads would otherwise make TCP reset the connection, and the peer lose the answer.
    """

    __slots__ = (
        "_at",
        "_bytes",
        "_choked",
        "_closing",
        "_data",
        "_drop",
        "_heavy",
        "_held",
        "_inner",
        "_items",
        "_later",
        "_linger",
        "_loop",
        "_now",
        "_pacing",
        "_piece",
        "_reading",
        "_stall",
        "_taken",
        "_transport",
        "_waiting",
        "_written",
    )

    def __init__(self, pacing: Pacing, inner: Paceable) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._pacing = pacing
        self._inner = inner
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # until it is made
        self._data = b""  # read, and from `_at` on not handed on
        self._at = 0
        self._now = 0.0  # the turn that `_items` and `_bytes` are of
        self._items = 0
        self._bytes = 0
        self._piece = PIECE_BYTES
        self._waiting = False  # in the rotation
        self._heavy = False  # was there a moment ago
        self._later: Callable[[], None] | None = None
        self._held = False  # paused by the protocol
        self._choked = False  # paused because the peer does not read
        self._reading = True
        self._closing = False
        self._written = 0
        self._taken = 0
        self._stall: Due | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._drop: asyncio.TimerHandle | None = None

    # -- what comes from the transport -----------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._inner.connection_made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._pacing.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._closing:
            self._transport.pause_reading()
            self._drop = self._loop.call_later(DROP_S, self._transport.resume_reading)
            return
        self._data = self._data[self._at :] + self._pacing.buffer[:nbytes]
        self._at = 0
        now = self._loop.time()
        if self._heavy and now - self._now > HEAVY_S:
            self._heavy = False
        if now != self._now:
            self._begin_turn(now)
        if not self._waiting and not self._heavy:
            self._take(AT_ONCE_ITEMS)
        self._adjust()

    def eof_received(self) -> bool | None:
        return None if self._closing else self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._data, self._at = b"", 0
        for timer in (self._stall, self._linger, self._drop):
            if timer is not None:
                timer.cancel()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._stall is None:
            self._watch()
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._stall is not None and not self._closing:
            self._stall.cancel()
            self._stall = None
        self._choked = False
        self._adjust()
        self._inner.resume_writing()

    # -- what the protocol asks for --------------------------------------------------------
    def charge(self, items: int) -> None:
        """Count what was found in the piece that was handed on."""
        self._items += items

    def in_turn(self, callback: Callable[[], None]) -> None:
        """Call back in a turn of this peer, before anything more of it is handed on."""
        self._later = callback
        self._adjust()

    def unread(self, data: bytes) -> None:
        """Take bytes back that were handed on too early: they are the next protocol's."""
        self._data, self._at = data + self._data[self._at :], 0

    @property
    def busy(self) -> bool:
        """Say whether more of the peer was read than handed on, or it is to read first."""
        return self._waiting or self._choked

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        self._transport.write(data)
        self._bytes += len(data)
        self._written += len(data)
        if self._stall is not None and self.get_write_buffer_size() > UNREAD_BYTES:
            self._choked = True
            self._adjust()

    def pause_reading(self) -> None:
        self._held = True
        self._adjust()

    def resume_reading(self) -> None:
        self._held = False
        self._adjust()

    def is_reading(self) -> bool:
        return not self._held

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._data, self._at, self._later = b"", 0, None
        self._adjust()
        if self._stall is None:
            self._watch()
        if self._transport.is_closing() or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        self._linger = self._loop.call_later(LINGER_S, self._transport.close)

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._inner = cast(Paceable, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self._inner)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        return False  # `close` does it

    # -- turns -----------------------------------------------------------------------------
    def _begin_turn(self, now: float) -> None:
        # Answers are written after the turn that asked for them: what went out since is owed.
        turns = max(1, int((now - self._now) * 1000))
        self._bytes = max(0, self._bytes - turns * TURN_BYTES)
        self._items = 0
        self._now = now

    def _take(self, most: int) -> None:
        """Hand on so many things, and no more bytes than a turn allows."""
        while self._items < most and self._bytes < TURN_BYTES and self._may_take():
            if (later := self._later) is not None:
                self._later = None
                later()
                continue
            before = self._items
            piece = self._data[self._at : self._at + self._piece]
            self._at += len(piece)
            self._bytes += len(piece)
            self._inner.data_received(piece)
            if self._items > before and self._heavy:
                self._piece = LEAST_PIECE_BYTES
            else:
                self._piece = min(2 * self._piece, PIECE_BYTES)

    def _again(self) -> bool:
        self._begin_turn(self._loop.time())
        self._heavy = True
        self._take(TURN_ITEMS)
        self._waiting = self._may_take()
        self._adjust()
        return self._waiting

    def _may_take(self) -> bool:
        if self._held or self._choked or self._closing:
            return False
        return self._at < len(self._data) or self._later is not None

    def _adjust(self) -> None:
        """Read on, or wait for a turn."""
        if not self._waiting and self._may_take():
            self._waiting = True
            self._pacing.turns.add(self._again)
        # Once closing, what comes is dropped; end of file must be seen.
        reading = self._closing or not (self._waiting or self._held or self._choked)
        if reading is not self._reading and not self._transport.is_closing():
            self._reading = reading
            (self._transport.resume_reading if reading else self._transport.pause_reading)()

    # -- peers that do not read ------------------------------------------------------------
    def _watch(self) -> None:
        self._taken = self._written - self.get_write_buffer_size()
        self._stall = due_in(self._pacing.stall_s, self._look)

    def _look(self) -> None:
        taken = self._written - self.get_write_buffer_size()
        if taken != self._taken:
            self._watch()
        elif self._closing:
            self._transport.abort()
        else:
            self._stall = None
            self._inner.stalled()
