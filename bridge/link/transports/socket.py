"""The worker's end of a Unix socket: a listener that hands each connection over as transport."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from bridge.link.transports.descriptors import Descriptors

# `sun_path` is 108 bytes on Linux, 104 on macOS, with a zero at the end.
MAX_PATH_BYTES = 103
BACKLOG = 16
RETRY_SECONDS = 1.0


class SocketListener:
    """Listens on a path that only its user may use; `close` removes it."""

    def __init__(self, path: Path, connected: Callable[[Descriptors], None]) -> None:
        self.path = path
        self._connected = connected
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Listen. A socket file that a dead process left is replaced.

        Raises OSError, with the way out where there is one.
        """
        name = os.fsencode(self.path)
        if len(name) > MAX_PATH_BYTES:
            raise OSError(
                f"{self.path}: {len(name)} bytes, a socket's path has at most {MAX_PATH_BYTES}; "
                "set BRIDGE_LINK_DIR to a shorter directory"
            )
        if self._answers():
            raise OSError(f"{self.path}: another process listens there")
        # Renamed once it listens: a path that refuses belongs to a dead process for certain.
        fresh = self.path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind(str(fresh))
        fresh.chmod(0o600)
        listener.listen(BACKLOG)
        fresh.replace(self.path)
        self._socket = listener
        self._loop.add_reader(listener.fileno(), self._accept, listener)

    def close(self) -> None:
        """Stop listening; connections that were handed over stay."""
        listener, self._socket = self._socket, None
        if listener is not None:
            self._loop.remove_reader(listener.fileno())
            listener.close()
            self.path.unlink(missing_ok=True)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                probe.connect(str(self.path))
                return True
        return False

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # out of descriptors: the connection waits, the loop must not spin
            self._loop.remove_reader(listener.fileno())
            self._loop.call_later(RETRY_SECONDS, self._listen_again, listener)
            return
        self._connected(Descriptors.of_socket(connection))

    def _listen_again(self, listener: socket.socket) -> None:
        if self._socket is listener:
            self._loop.add_reader(listener.fileno(), self._accept, listener)
