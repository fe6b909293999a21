"""uvicorn's WebSocket connection, with nothing of ASGI between it and an open socket."""

from __future__ import annotations

import struct
from asyncio import BaseTransport
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request

from bridge.paced import Paced
from bridge.patience import due_in

EXTENSION = "bridge.connection"
# A peer that does not read would keep its buffers for ever.
HANG_UP_S = 5.0
WRITE_BYTES = 65536
MAX_FRAGMENTS = 1024
CLOSE_SLOW = 1013


def text_frame(text: bytes) -> bytes:
    """Return a server's text frame (RFC 6455, 5.2): not masked, so the same for every client."""
    size = len(text)
    if size < 126:
        return b"\x81%c%b" % (size, text)
    if size < 65536:
        return struct.pack("!BBH", 0x81, 126, size) + text
    return struct.pack("!BBQ", 0x81, 127, size) + text


class Connection(WebSocketsSansIOProtocol):
    """Hand itself to the application as ASGI extension `bridge.connection`.

    ASGI's `send` waits while the peer is slow, so a slow peer could neither be told anything nor
    be dropped by it, and each reply would need a task of its own to wait in. Its `receive` takes
    a turn of the loop for each message; here `deliver` has them handed over as they are read.
    """

    received: Callable[[str | bytes, float], None] | None = None
    resumed: Callable[[], None] | None = None
    heard_at = 0.0  # when a frame came last, of any kind
    transport: Paced

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.unwritten: list[bytes] = []  # frames that wait for the end of this turn of the loop
        self.unwritten_bytes = 0
        self.heard_at = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self.unwritten.clear()
        super().connection_lost(exc)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            extensions = cast("dict[str, Any]", self.scope["extensions"])
            extensions[EXTENSION] = {"connection": self}
            self.transport.pause_reading()  # until `deliver`

    def trim(self) -> None:
        """Forget the handshake: it would be kept as long as the socket."""
        del self.scope, self.request, self.response

    def deliver(self, received: Callable[[str | bytes, float], None]) -> None:
        """Call `received` with each message and the loop's time, from the first one on."""
        self.received = received
        self.transport.resume_reading()

    # -- what comes in ---------------------------------------------------------------------
    def data_received(self, data: bytes) -> None:
        self.conn.receive_data(data)
        self.handle_events()
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse_handshake()
        elif self.conn.parser_exc is not None and not self.close_sent:
            self._write_frames()
            self.handle_parser_exception()

    def handle_events(self) -> None:
        """Handle what was read; after a close, from either side, nothing but a close."""
        events = cast("list[Request | Frame]", self.conn.events_received())
        self.transport.charge(len(events))
        for event in events:
            if isinstance(event, Request):
                self.handle_connect(event)
                continue
            self.heard_at = self.loop.time()
            if event.opcode is Opcode.CLOSE:
                self._write_frames()
                self.handle_close(event)
            elif not self.close_sent:
                self._take(event)
        if self.conn.writes and not self.close_sent:
            self._write_soon()

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            return  # the pong is among what is to be written
        if frame.opcode is not Opcode.CONT:
            self.curr_msg_data_type = "text" if frame.opcode is Opcode.TEXT else "bytes"
        elif len(self.frames) >= MAX_FRAGMENTS:
            why = f"a message of more than {MAX_FRAGMENTS} fragments"
            self._fail(CloseCode.MESSAGE_TOO_BIG, why)
            return
        self.frames.append(bytes(frame.data))
        if frame.fin:
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        data, self.frames = b"".join(self.frames), []
        self.transport.charge(1)
        if self.received is None:
            return  # hung up before the application took it
        try:
            message = data.decode() if self.curr_msg_data_type == "text" else data
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA, "")
            return
        self.received(message, self.heard_at)

    def _fail(self, code: int, reason: str) -> None:
        """Close at once: what else comes is not even looked at (RFC 6455, 7.1.7)."""
        self.conn.fail(code, reason)
        self._write_frames()
        self.handle_parser_exception()

    def _refuse_handshake(self) -> None:
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        if not self.conn.writes:
            text = "Failed to open a WebSocket connection.\n"
            self.conn.send_response(self.conn.reject(HTTPStatus.BAD_REQUEST, text))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()

    # -- what goes out ---------------------------------------------------------------------
    def resume_writing(self) -> None:
        super().resume_writing()
        if self.resumed is not None:
            self.resumed()

    def can_write(self) -> bool:
        """Say whether the peer keeps up: the transport's buffer is below its high-water mark."""
        return self.writable.is_set()

    def write(self, frame: bytes) -> None:
        """Send a frame, or several in a row, made by `text_frame`; nothing once closing.

        What is written in one turn of the loop leaves together: a system call costs more than
        all else about a small frame.
        """
        if self.close_sent or self.transport.is_closing():
            return
        if not self.unwritten:
            self._write_soon()
        self.unwritten.append(frame)
        self.unwritten_bytes += len(frame)
        if self.unwritten_bytes >= WRITE_BYTES:
            self._write_frames()

    def _write_soon(self) -> None:
        self.loop.call_soon(self._write_frames)

    def _write_frames(self) -> None:
        if self.close_sent:
            return
        frames = self.unwritten
        if self.conn.writes:
            frames = frames + self.conn.data_to_send()  # pongs, and the close behind the rest
        if frames and not self.transport.is_closing():
            self.transport.write(b"".join(frames))
        self.unwritten = []
        self.unwritten_bytes = 0

    def hang_up(self, code: int, reason: str) -> None:
        """Send a close frame behind what was written, and drop a peer that does not answer it."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self._write_frames()
        self.close_sent = True
        self.received = None
        self.transport.resume_reading()
        self.close_timer = due_in(HANG_UP_S, self.transport.abort)  # type: ignore[assignment] # as a handle

    def stalled(self) -> None:
        """Hang up on a peer that reads nothing."""
        self.hang_up(CLOSE_SLOW, "too slow: join again with since")
