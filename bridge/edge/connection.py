"""uvicorn's WebSocket connection, and what ASGI has no message for: write now, hang up now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

EXTENSION = "bridge.connection"
# A peer that does not read would keep its buffers for ever.
HANG_UP_S = 5.0
WRITE_BYTES = 65536


class Connection(WebSocketsSansIOProtocol):
    """Hand itself to the application as ASGI extension `bridge.connection`.

    ASGI's `send` waits while the peer is slow, so a slow peer could neither be told anything nor
    be dropped by it, and each reply would need a task of its own to wait in.
    """

    resumed: Callable[[], None] | None = None
    unwritten = 0  # bytes of frames that wait for the end of this turn of the loop

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions = cast("dict[str, Any]", self.scope["extensions"])
            extensions[EXTENSION] = {"connection": self}

    def trim(self) -> None:
        """Forget the handshake: it would be kept as long as the socket."""
        del self.scope, self.request, self.response

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
