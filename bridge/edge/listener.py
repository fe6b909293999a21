"""The listening socket: handed over by `bridge up`, or bound here."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from bridge.settings import Settings

BACKLOG = 2048  # `listen` on a passed descriptor sets the shared backlog again: always this one


class NoListener(Exception):
    """The listening socket could not be had."""


@dataclass(slots=True)
class Listener:
    """A listening socket. `lost` is set when whoever handed it over is gone: drain then."""

    sock: socket.socket
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    _control: socket.socket | None = None
    _watch: asyncio.Task[None] | None = None
    _told: list[dict[str, object]] = field(default_factory=list)
    _hears: Callable[[dict[str, object]], None] | None = None

    def hear(self, hears: Callable[[dict[str, object]], None]) -> None:
        """Have what the giver tells handed on, what it told before now."""
        self._hears = hears
        for told in self._told:
            hears(told)

    async def ready(self) -> None:
        """Tell the giver that connections are served now."""
        if self._control is not None:
            await _send_line(self._control, {"ready": True})

    async def alive(self) -> None:
        """Tell the giver that this worker still gets on."""
        if self._control is not None:
            with suppress(OSError):
                await _send_line(self._control, {"alive": True})

    async def close(self) -> None:
        """Give up the socket; the giver sees end of file."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._control is not None:
            self._control.close()
        self.sock.close()

    async def _until_lost(self) -> None:
        assert self._control is not None
        loop, rest = asyncio.get_running_loop(), b""
        with suppress(OSError):
            while data := await loop.sock_recv(self._control, 4096):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._tell(json.loads(line))
        self.lost.set()

    def _tell(self, told: dict[str, object]) -> None:
        if self._hears is not None:
            self._hears(told)
        else:
            self._told.append(told)


async def obtain(settings: Settings, worker: str) -> Listener:
    """Ask for the socket at `settings.listener`, or bind host and port if there is none.

    The hand-over: connect, write one line {"pid", "worker"}, receive the descriptor
    (SCM_RIGHTS), and keep the connection for life: on it the giver says who is to accept.
    Raises NoListener or OSError.
    """
    if not settings.listener:
        return Listener(bind(settings.host, settings.port))
    loop = asyncio.get_running_loop()
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        control.setblocking(False)
        await loop.sock_connect(control, settings.listener)
        await _send_line(control, {"pid": os.getpid(), "worker": worker})
        sock = await _receive_socket(control)
    except BaseException:
        control.close()
        raise
    listener = Listener(sock, _control=control)
    listener._watch = asyncio.create_task(listener._until_lost())
    return listener


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address and listening; port 0 takes a free one."""
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


async def _receive_socket(control: socket.socket) -> socket.socket:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(control, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(control)
    data, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
    if not descriptors:
        raise NoListener(f"expected a descriptor, got {len(data)} bytes without one")
    os.set_inheritable(descriptors[0], False)
    sock = socket.socket(fileno=descriptors[0])
    sock.setblocking(False)
    return sock


async def _send_line(control: socket.socket, value: dict[str, object]) -> None:
    line = json.dumps(value).encode() + b"\n"
    await asyncio.get_running_loop().sock_sendall(control, line)
