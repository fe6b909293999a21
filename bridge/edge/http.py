"""uvicorn's HTTP/1.1, held to what a request may be and to the time it may take."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

from bridge.edge.handshake import incomplete, missing_headers
from bridge.errors import BridgeError
from bridge.message import JSON
from bridge.paced import Paced
from bridge.patience import Due, due_in

MAX_HEAD_BYTES = 16_384
MAX_HEADERS = 100
REQUEST_ITEMS = 8  # what one costs, beside a chunk
MAX_LIST = 64  # members of the lists in the headers of a handshake
LISTS = (b"connection", b"upgrade", b"sec-websocket-protocol", b"sec-websocket-extensions")
VERSIONS = (b"1.0", b"1.1")


class Requests(h11.Connection):
    """Read requests; those that two servers might take for different ones are refused.

    `refused` says why `next_event` raised, with the status of the answer.
    """

    found = 0  # events so far
    refused: tuple[int, BridgeError] | None = None

    def next_event(self) -> Any:
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            bad = _bad("HTTP/1.1", str(error))
            too_large = error.error_status_hint == 431
            self.refused = error.error_status_hint, _too_large() if too_large else bad
            raise
        if isinstance(event, h11.Request):
            self.found += REQUEST_ITEMS
            self._check(event)
        elif isinstance(event, h11.EndOfMessage) or getattr(event, "chunk_start", False):
            self.found += 1  # other data is as large as what was read
        return event

    def _check(self, request: h11.Request) -> None:
        headers = [(name, value) for name, value in request.headers]
        values = dict(headers)
        chunked = b"transfer-encoding" in values
        lists = sum(value.count(b",") for name, value in headers if name in LISTS)
        if len(headers) > MAX_HEADERS or lists > MAX_LIST:
            self._refuse(431, _too_large())
        if request.http_version not in VERSIONS:
            self._refuse(505, _bad("HTTP/1.1", f"HTTP/{request.http_version.decode()}"))
        if chunked and b"content-length" in values:
            # RFC 9112, 6.1: the two name different ends of the request.
            self._refuse(400, _bad("Content-Length or Transfer-Encoding", "both"))
        if chunked and request.http_version == b"1.0":
            self._refuse(400, _bad("no Transfer-Encoding in HTTP/1.0", "chunked"))
        if values.get(b"upgrade", b"").lower() == b"websocket":
            if request.http_version == b"1.0":
                self._refuse(400, _bad("a WebSocket's handshake in HTTP/1.1", "HTTP/1.0"))
            self._check_handshake(headers, values)

    def _check_handshake(
        self, headers: list[tuple[bytes, bytes]], values: dict[bytes, bytes]
    ) -> None:
        missing = missing_headers(headers)
        if missing and "Connection" not in missing:  # else it is answered with 426
            self._refuse(400, incomplete(missing))
        if b"transfer-encoding" in values or int(values.get(b"content-length", 0)):
            self._refuse(400, _bad("no body in a WebSocket's handshake", "one"))

    def _refuse(self, status: int, error: BridgeError) -> None:
        self.refused = status, error
        raise h11.RemoteProtocolError(error.message, status)


class Http(H11Protocol):
    """Refuse what is no request, and one that takes too long, with an answer; then close.

    The time for a request's head begins when the connection does, or with the answer before.
    """

    def __init__(self, request_s: float, **given: Any) -> None:
        super().__init__(**given)
        self.conn = self._requests = Requests(h11.SERVER, MAX_HEAD_BYTES)
        self._request_s = request_s
        self._head_lines = 0
        self._pipelined = False  # the next request is here, and waits for a turn
        self._patience: Due | None = None

    # uvicorn narrows the parameter in the same way.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._patience = due_in(self._request_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_patient()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        in_head = self.conn.their_state is h11.IDLE
        found = self._requests.found
        super().data_received(data)
        cast(Paced, self.transport).charge(self._requests.found - found)
        if not in_head or self.conn.their_state is not h11.IDLE:
            self._head_lines = 0
            return
        self._head_lines += data.count(b"\n")
        if self._head_lines > MAX_HEADERS + 1 and not self.transport.is_closing():
            self._refuse(431, _too_large())

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._be_patient()
        after, _ = self.conn.trailing_data
        super().handle_websocket_upgrade(event)
        cast(Paced, self.transport).unread(after)

    def on_response_complete(self) -> None:
        self._be_patient()
        self._patience = due_in(self._request_s, self._give_up)
        next_one, _ = self.conn.trailing_data
        self._pipelined = bool(next_one)
        super().on_response_complete()
        if self._pipelined:
            cast(Paced, self.transport).in_turn(self._go_on)

    def handle_events(self) -> None:
        if not self._pipelined:
            super().handle_events()

    def _go_on(self) -> None:
        self._pipelined = False
        found = self._requests.found
        self.handle_events()
        cast(Paced, self.transport).charge(self._requests.found - found)

    def send_400_response(self, msg: str) -> None:
        assert self._requests.refused is not None
        self._refuse(*self._requests.refused)

    def stalled(self) -> None:
        """Drop a peer that does not read its answer."""
        self.transport.abort()

    def _be_patient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    def _give_up(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            return  # its body and its answer have limits of their own
        if cast(Paced, self.transport).busy:  # it is here, and was not looked at yet
            self._patience = due_in(self._request_s, self._give_up)
            return
        begun, _ = self.conn.trailing_data
        if begun:
            late = f"no whole head of a request within {self._request_s:g} s"
            self._refuse(408, BridgeError("deadline_exceeded", late))
        else:
            self.transport.close()

    def _refuse(self, status: int, error: BridgeError) -> None:
        """Answer for the application, and close."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = orjson.dumps(cast(JSON, error.response()))
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            answer = h11.Response(status_code=status, headers=headers)
            for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _bad(expected: str, actual: str) -> BridgeError:
    return BridgeError(
        "invalid_request",
        f"expected {expected}, got {actual}",
        expected=expected,
        actual=actual,
    )


def _too_large() -> BridgeError:
    return BridgeError(
        "limit_exceeded",
        f"the head of a request has up to {MAX_HEAD_BYTES} bytes, {MAX_HEADERS} headers, and "
        f"lists of up to {MAX_LIST} in a handshake",
        limit_bytes=MAX_HEAD_BYTES,
        limit=MAX_HEADERS,
    )
