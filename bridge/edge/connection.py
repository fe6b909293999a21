"""uvicorn's WebSocket connection, with nothing of ASGI between it and an open socket."""

from __future__ import annotations

from asyncio import BaseTransport
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode
from websockets.http11 import Request

EXTENSION = "bridge.connection"
# A peer that does not read would keep its buffers for ever.
HANG_UP_S = 5.0
WRITE_BYTES = 65536
MESSAGES_IN_A_ROW = 64  # of one connection, before the others have their turn


class Connection(WebSocketsSansIOProtocol):
    """Hand itself to the application as ASGI extension `bridge.connection`.

    ASGI's `send` waits while the peer is slow, so a slow peer could neither be told anything nor
    be dropped by it, and each reply would need a task of its own to wait in. Its `receive` takes
    a turn of the loop for each message; here `deliver` has them handed over as they are read.
    """

    received: Callable[[str | bytes, float], None] | None = None
    resumed: Callable[[], None] | None = None
    unwritten = 0  # bytes of frames that wait for the end of this turn of the loop

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.unread: list[str | bytes] = []  # messages that were not handed over yet

    def connection_lost(self, exc: Exception | None) -> None:
        self.unread.clear()
        self.read_paused = False
        super().connection_lost(exc)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions = cast("dict[str, Any]", self.scope["extensions"])
            extensions[EXTENSION] = {"connection": self}

    def trim(self) -> None:
        """Forget the handshake: it would be kept as long as the socket."""
        del self.scope, self.request, self.response

    def deliver(self, received: Callable[[str | bytes, float], None]) -> None:
        """Call `received` with each message and the loop's time, from the first one on."""
        self.received = received
        self._hand_over()

    def handle_events(self) -> None:
        super().handle_events()
        if self.unread:
            self._hand_over()

    def send_receive_event_to_app(self) -> None:
        data, self.frames = b"".join(self.frames), []
        if self.close_sent:
            return
        try:
            self.unread.append(data.decode() if self.curr_msg_data_type == "text" else data)
        except UnicodeDecodeError:
            self.conn.send_close(CloseCode.INVALID_DATA)
            self.handle_parser_exception()

    def _hand_over(self) -> None:
        if self.received is None:
            return  # the handshake is not over
        now = self.loop.time()
        messages = self.unread[:MESSAGES_IN_A_ROW]
        del self.unread[:MESSAGES_IN_A_ROW]
        for message in messages:
            self.received(message, now)
        if self.close_sent or self.transport.is_closing():
            self.unread.clear()
            return
        if self.unread:
            self.loop.call_soon(self._hand_over)
        if self.read_paused is not bool(self.unread):
            self.read_paused = bool(self.unread)
            (self.transport.pause_reading if self.unread else self.transport.resume_reading)()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.resumed is not None:
            self.resumed()

    def can_write(self) -> bool:
        """Say whether the peer keeps up: the transport's buffer is below its high-water mark."""
        return self.writable.is_set()

    def write(self, frame: bytes) -> None:
        """Send one text frame; nothing once the socket is closing.

        Frames of one turn of the loop are written together: a system call costs more than all
        else about a small frame.
        """
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.send_text(frame)
        if self.unwritten == 0:
            self.loop.call_soon(self._write)
        self.unwritten += len(frame)
        if self.unwritten >= WRITE_BYTES:
            self._write()

    def _write(self) -> None:
        self.unwritten = 0
        data = self.conn.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(b"".join(data))

    def hang_up(self, code: int, reason: str) -> None:
        """Send a close frame behind what was written, and drop a peer that does not answer it."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(HANG_UP_S, self.transport.abort)
