"""Length-prefixed frames, as {packet, 1 | 2 | 4} ports use them. No I/O here."""

from __future__ import annotations

from struct import Struct

from bridge.link.errors import BadFrame, BadValue
from bridge.link.terms import VERSION

_LENGTHS = {1: Struct(">B"), 2: Struct(">H"), 4: Struct(">I")}
HEAD_BYTES = 64  # of a frame that is too large: enough to tell which call it belongs to
# A length that is text, as of a stray print, begins beyond this: nothing could be waited for.
MOST_SKIPPED_BYTES = 2**28


class Oversized(bytes):
    """The first bytes of a frame that was too large, and dropped; `announced` is its length."""

    announced: int

    def __new__(cls, head: bytes, announced: int) -> Oversized:
        made = super().__new__(cls, head)
        made.announced = announced
        return made


class FrameReader:
    """Cut a stream into frames: `feed` what was read, then empty it with `take`.

    Of a frame announced to be larger than `max_frame_bytes` only the head comes, as Oversized;
    the rest is dropped as it is read, nothing is reserved for it. One that is no frame by its
    length is an error, after which the reader has lost the stream.
    """

    def __init__(self, max_frame_bytes: int, packet: int = 4) -> None:
        self._max = max_frame_bytes
        self._packet = packet
        self._length = _LENGTHS[packet].unpack_from
        self._buffer: bytes | bytearray = b""
        self._skip = 0  # bytes that are still to come of a frame that was too large

    def feed(self, data: bytes) -> None:
        if self._skip:
            dropped = min(self._skip, len(data))
            self._skip -= dropped
            data = data[dropped:]
        # Most reads begin and end at a frame: they are cut as they are, without a copy.
        if self._buffer:
            self._buffer += data
        else:
            self._buffer = data

    def take(self, most: int = 0) -> list[bytes]:
        """Return every complete frame, or the first `most`, without its length.

        Raises BadFrame in place of what is no frame; those before it are returned first, so take
        until nothing comes.
        """
        buffer, packet, length = self._buffer, self._packet, self._length
        frames: list[bytes] = []
        view = memoryview(buffer) if isinstance(buffer, bytearray) else buffer
        at, size = 0, len(view)
        while size - at >= packet:
            (announced,) = length(view, at)
            start, end = at + packet, at + packet + announced
            if announced > self._max:
                head = bytes(view[start : min(end, start + HEAD_BYTES)])
                if announced > MOST_SKIPPED_BYTES or head[:1] not in (b"", VERSION):
                    if frames:
                        break
                    limit = f"a frame of at most {self._max} bytes"
                    raise BadFrame(limit, f"{announced} announced")
                if len(head) < min(announced, HEAD_BYTES):
                    break
                frames.append(Oversized(head, announced))
                self._skip = max(0, end - size)
                at = min(end, size)
            elif end > size:
                break
            else:
                frames.append(bytes(view[start:end]))
                at = end
            if len(frames) == most:
                break
        if isinstance(view, memoryview):
            view.release()
        if at == size:
            self._buffer = b""
        elif isinstance(buffer, bytearray):
            del buffer[:at]
        else:
            self._buffer = bytearray(buffer[at:])
        return frames

    @property
    def ready(self) -> bool:
        """Say whether `take` has something to return, or to raise."""
        size = len(self._buffer)
        if size < self._packet:
            return False
        (announced,) = self._length(self._buffer)
        here = size - self._packet
        if announced <= self._max:
            return bool(announced <= here)
        first = self._buffer[self._packet : self._packet + 1]
        slipped = announced > MOST_SKIPPED_BYTES or first not in (b"", VERSION)
        return slipped or here >= min(announced, HEAD_BYTES)

    @property
    def buffered_bytes(self) -> int:
        return len(self._buffer)


class FrameWriter:
    """Put a frame's length before it; refuse what the peer would refuse."""

    def __init__(self, max_frame_bytes: int, packet: int = 4) -> None:
        self.max_bytes = min(max_frame_bytes, 256**packet - 1)
        self._length = _LENGTHS[packet].pack

    def frame(self, body: bytes) -> bytes:
        """Return `body` as a frame. Raises BadValue when it is too large."""
        if len(body) > self.max_bytes:
            raise BadValue(f"a frame of at most {self.max_bytes} bytes", f"{len(body)}")
        return self._length(len(body)) + body
