"""One listening socket for all workers, handed out over a Unix socket by SCM_RIGHTS.

A worker connects, writes one JSON line `{"pid", "worker"}`, gets a line `{"listener": true}`
that carries the descriptor, writes `{"ready": true}` once it serves, and keeps the connection
for its life. A node writes `{"node"}` and a TypeScript service `{"service"}`; they get nothing.
All write `{"alive": true}` each second. End of file tells each side that the other is gone.

Workers, and nodes that wrote `{"ready": true}`, are told `{"accept": true or false}`, whether to
take connections, and `{"send_on": true}`, to send their clients on to who does.

A node is also told `{"reload": subsystem}`, to load the code that was compiled for it, and writes
`{"reloaded": subsystem}` with `ok` or `error`, what there is to say of that.

`{"reload": subsystem}` and `{"gateway": runtime}` are requests: a line `{"said"}` for each thing
that was done, then `{"failed"}`, the reason or empty.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

MAX_LINE_BYTES = 4096
Request = Callable[[str], AsyncIterator[str]]
HELLO_TIMEOUT_S = 5.0
ACCEPT_AGAIN_S = 0.1


class RequestFailed(Exception):
    """All goes on as it was; the text says why."""


class Peer:
    """A process that keeps a connection: a worker, a node or a service.

    `pid` is the kernel's word, 0 if it cannot be told. Whoever wants to know how long it has
    been silent adds to `silent_s`; each of its lines makes that 0.
    """

    def __init__(self, name: str, pid: int, connection: socket.socket) -> None:
        self.name = name
        self.pid = pid
        self.ready = False
        self.silent_s = 0.0
        self._accepts: bool | None = None  # as it was told
        self._reloads: dict[str, asyncio.Future[str]] = {}
        self._connection = connection

    def accept(self, accepts: bool) -> None:
        """Tell it whether to take connections, if that is new to it."""
        if accepts != self._accepts:
            self._accepts = accepts
            self._tell({"accept": accepts})

    def send_on(self) -> None:
        """Tell it to send its clients on."""
        self._tell({"send_on": True})

    async def reload(self, subsystem: str, timeout_s: float) -> str:
        """Have a node load a subsystem's code as it runs; return what it says of that.

        Raises RequestFailed.
        """
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reloads[subsystem] = answer
        self._tell({"reload": subsystem})
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise RequestFailed(f"the node did not load {subsystem} in {timeout_s:g} s") from None
        finally:
            del self._reloads[subsystem]

    def reloaded(self, line: Mapping[str, object]) -> None:
        """Take what a node says of a `reload`."""
        answer = self._reloads.get(str(line["reloaded"]))
        if answer is None or answer.done():
            return  # nobody waits for it any more
        if "ok" in line:
            answer.set_result(str(line["ok"]))
        else:
            answer.set_exception(RequestFailed(f"the node: {line.get('error')}"))

    def _tell(self, told: Mapping[str, bool | str]) -> None:
        line = json.dumps(told, separators=(",", ":")).encode() + b"\n"
        with suppress(OSError):  # it has gone already, or reads nothing and will be replaced
            self._connection.send(line)

    def dismiss(self) -> None:
        """Let a worker see end of file, upon which it drains and leaves."""
        with suppress(OSError):  # it may have gone already
            self._connection.shutdown(socket.SHUT_WR)


class Listener:
    """Hold the listening socket and know the workers by the connections they keep."""

    def __init__(
        self,
        listening: socket.socket,
        path: Path,
        *,
        changed: Callable[[], None] = lambda: None,
        requests: Mapping[str, Request] | None = None,
    ) -> None:
        """`changed` is called whenever a worker came, became ready or left."""
        self._listening = listening
        self._path = path
        self._changed = changed
        self._requests = requests or {}
        self._asked = asyncio.Lock()
        self._server: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._left = asyncio.Event()
        self.workers: list[Peer] = []
        self.nodes: list[Peer] = []

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listening.getsockname()[:2]
        return host, port

    def open(self) -> None:
        """Start handing out."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(os.fspath(self._path))
        self._path.chmod(0o600)
        self._server.listen(64)
        self._server.setblocking(False)
        self._spawn(self._accept(self._server))

    def stop_accepting(self) -> None:
        """Hand out nothing more and drop our copy of the listening socket.

        Once the workers have closed theirs, new clients are refused.
        """
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        self._listening.close()

    async def emptied(self, timeout_s: float) -> bool:
        """Wait until no worker is left; False if time is up first."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.workers:
                    self._left.clear()
                    await self._left.wait()
        return not self.workers

    async def close(self) -> None:
        """Stop, and forget the workers that are still there."""
        self.stop_accepting()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while server.fileno() >= 0:  # until stop_accepting
            try:
                connection, _ = await loop.sock_accept(server)
            except OSError:  # also for want of descriptors, which those who left give back
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            connection.setblocking(False)
            self._spawn(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        peer: Peer | None = None
        there = self.workers
        with connection:
            try:
                lines = _Lines(connection)
                async with asyncio.timeout(HELLO_TIMEOUT_S):
                    hello = await lines.next()
                if hello is None:
                    return
                for request in self._requests.keys() & hello.keys():
                    await self._ask(connection, self._requests[request](str(hello[request])))
                    return
                if "worker" not in hello:
                    there = self.nodes
                kind = next((k for k in ("worker", "node", "service") if k in hello), "")
                name = str(hello.get(kind, "?"))
                peer = Peer(name, _peer_pid(connection), connection)
                if there is self.workers:
                    fds = [self._listening.fileno()]
                    socket.send_fds(connection, [b'{"listener":true}\n'], fds)
                there.append(peer)
                self._changed()
                while (line := await lines.next()) is not None:
                    peer.silent_s = 0.0
                    if "reloaded" in line:
                        peer.reloaded(line)
                    if "ready" in line:
                        peer.ready = line["ready"] is True
                        self._changed()
            except (OSError, ValueError, TimeoutError, RecursionError):
                pass  # it died, or it is no worker: either way the connection ends here
            finally:
                if peer in there:
                    there.remove(peer)
                    self._left.set()
                    self._changed()

    async def _ask(self, connection: socket.socket, answers: AsyncIterator[str]) -> None:
        loop, failed = asyncio.get_running_loop(), ""
        try:
            async with self._asked:
                async for said in answers:
                    line = json.dumps({"said": said}).encode()
                    await loop.sock_sendall(connection, line + b"\n")
        except (RequestFailed, OSError) as error:  # of the second, it ended in the middle
            failed = str(error)
        await loop.sock_sendall(connection, json.dumps({"failed": failed}).encode() + b"\n")


class _Lines:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    async def next(self) -> dict[str, object] | None:
        """Return the next line's object, None at end of file; ValueError if it is none."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._rest:
            if len(self._rest) > MAX_LINE_BYTES:
                raise ValueError("line too long")
            data = await loop.sock_recv(self._connection, MAX_LINE_BYTES)
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        value = json.loads(line)
        if not isinstance(value, dict):
            raise ValueError("not an object")
        return value


def _peer_pid(connection: socket.socket) -> int:
    """Return the peer's pid as this process may signal it, 0 if it lives in another namespace."""
    try:
        if sys.platform == "linux":
            data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return int(struct.unpack("3i", data)[0])
        if sys.platform == "darwin":
            sol_local, local_peerpid = 0, 2  # sys/un.h
            return int(connection.getsockopt(sol_local, local_peerpid))
    except OSError:
        pass
    return 0
