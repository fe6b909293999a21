"""A transport over a pair of descriptors: an Erlang port's pipes, or a connected socket."""

from __future__ import annotations

import asyncio
import os
import socket

from bridge.link.transport import Receiver

# A pipe holds so much; asking for more makes each read map and unmap memory.
READ_BYTES = 65_536


class Descriptors:
    """Reads and writes non-blocking descriptors from the event loop; owns and closes them.

    Both may be the same. `add_reader` works alike on pipes and sockets, on Linux and macOS.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._rest = memoryview(b"")
        self._receiver: Receiver | None = None
        self._open = True
        for fd in {read_fd, write_fd}:
            os.set_blocking(fd, False)
            # A child that held the other end open would keep end of file from being seen.
            os.set_inheritable(fd, False)

    @classmethod
    def of_socket(cls, connection: socket.socket) -> Descriptors:
        """Take a connected socket over."""
        fd = connection.detach()
        return cls(fd, fd)

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._loop.add_reader(self._read_fd, self._readable)

    def write(self, data: bytes) -> bool:
        if not self._open:
            return False
        try:
            count = os.write(self._write_fd, data)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as error:
            self._lose(f"cannot write: {error.strerror}")
            return False
        if count == len(data):
            return True
        self._rest = memoryview(data)[count:]
        self._loop.add_writer(self._write_fd, self._writable)
        return False

    def pause(self) -> None:
        if self._open:
            self._loop.remove_reader(self._read_fd)

    def resume(self) -> None:
        if self._open:
            self._loop.add_reader(self._read_fd, self._readable)

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._rest = memoryview(b"")
        self._loop.remove_reader(self._read_fd)
        self._loop.remove_writer(self._write_fd)
        for fd in {self._read_fd, self._write_fd}:
            os.close(fd)

    def _readable(self) -> None:
        try:
            data = os.read(self._read_fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(f"cannot read: {error.strerror}")
            return
        if not data:
            self._lose("end of file")
        elif self._receiver is not None:
            self._receiver.received(data)

    def _writable(self) -> None:
        try:
            count = os.write(self._write_fd, self._rest)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(f"cannot write: {error.strerror}")
            return
        self._rest = self._rest[count:]
        if not self._rest:
            self._loop.remove_writer(self._write_fd)
            if self._receiver is not None:
                self._receiver.written()

    def _lose(self, reason: str) -> None:
        self.close()
        if self._receiver is not None:
            # Not from within a write of the receiver's own.
            self._loop.call_soon(self._receiver.lost, reason)
