"""Length-prefixed frames, as {packet, 1 | 2 | 4} ports use them. No I/O here."""

from __future__ import annotations

from struct import Struct

from bridge.link.errors import BadFrame, BadValue

_LENGTHS = {1: Struct(">B"), 2: Struct(">H"), 4: Struct(">I")}


class FrameReader:
    """Cut a stream into frames: `feed` what was read, then empty it with `take`.

    A frame announced to be larger than `max_frame_bytes` is an error as soon as its length is
    there; nothing is reserved for it. After an error the reader has lost the stream.
    """

    def __init__(self, max_frame_bytes: int, packet: int = 4) -> None:
        self._max = max_frame_bytes
        self._packet = packet
        self._length = _LENGTHS[packet].unpack_from
        self._buffer: bytes | bytearray = b""

    def feed(self, data: bytes) -> None:
        # Most reads begin and end at a frame: they are cut as they are, without a copy.
        if self._buffer:
            self._buffer += data
        else:
            self._buffer = data

    def take(self, most: int = 0) -> list[bytes]:
        """Return every complete frame, or the first `most`, without its length.

        Raises BadFrame in place of the frame that is too large; those before it are returned
        first, so take until nothing comes.
        """
        buffer, packet, length = self._buffer, self._packet, self._length
        frames: list[bytes] = []
        view = memoryview(buffer) if isinstance(buffer, bytearray) else buffer
        at, size = 0, len(view)
        while size - at >= packet:
            (announced,) = length(view, at)
            if announced > self._max:
                if frames:
                    break
                raise BadFrame(f"a frame of at most {self._max} bytes", f"{announced} announced")
            end = at + packet + announced
            if end > size:
                break
            frames.append(bytes(view[at + packet : end]))
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
        return announced > self._max or bool(self._packet + announced <= size)

    @property
    def buffered_bytes(self) -> int:
        return len(self._buffer)


class FrameWriter:
    """Put a frame's length before it; refuse what the peer would refuse."""

    def __init__(self, max_frame_bytes: int, packet: int = 4) -> None:
        self._max = min(max_frame_bytes, 256**packet - 1)
        self._length = _LENGTHS[packet].pack

    def frame(self, body: bytes) -> bytes:
        """Return `body` as a frame. Raises BadValue when it is too large."""
        if len(body) > self._max:
            raise BadValue(f"a frame of at most {self._max} bytes", f"{len(body)}")
        return self._length(len(body)) + body
