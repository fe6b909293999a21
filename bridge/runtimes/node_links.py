"""Which node a worker is linked to: hello, the newer node's right of way, the orphan's socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bridge.errors import BridgeError
from bridge.link.link import Link
from bridge.link.session import SessionLimits
from bridge.link.terms import Atom
from bridge.link.transport import Transport
from bridge.link.transports.socket import SocketListener
from bridge.runtimes.elixir import ElixirRuntime
from bridge.telemetry import Telemetry

PROTOCOL = 1
# A node says hello at once; a peer on the socket that does not would hold a descriptor for ever.
HELLO_S = 10.0
OK = Atom("ok")
SUPERSEDED = Atom("superseded")


class NodeLinks:
    """Accept nodes for one worker, by the port it was started on and by its link socket.

    A worker started as a port opens its socket when the port reaches end of file: it is an
    orphan then, and the next node will ask it to drain. `leave` is called for `drain` and
    `shutdown`; it must return at once.
    """

    def __init__(
        self,
        worker: str,
        runtime: ElixirRuntime,
        digests: Mapping[str, str],
        socket_path: Path | None,
        limits: SessionLimits,
        telemetry: Telemetry,
        leave: Callable[[str], None],
    ) -> None:
        self._worker = worker
        self._runtime = runtime
        self._digests = digests
        self._path = socket_path
        self._limits = limits
        self._telemetry = telemetry
        self._leave = leave
        self._orphan = False
        self._listener: SocketListener | None = None
        self._current: Link | None = None
        self._started_ms = 0
        self._links: set[Link] = set()
        self._watchers: set[asyncio.Task[None]] = set()

    @property
    def linked(self) -> bool:
        return self._current is not None and self._current.alive

    def counts(self) -> dict[str, int]:
        """Return what the current link did, dropped and refused since it came up."""
        return asdict(self._current.counters) if self._current is not None else {}

    def take_port(self, transport: Transport, packet: int) -> None:
        """Speak to the node that started this process."""
        self._connect(transport, packet, self._orphaned)

    def open_socket(self) -> None:
        """Listen for nodes on the link socket, if there is a directory for it."""
        if self._path is None or self._listener is not None:
            return
        listener = SocketListener(self._path, lambda found: self._connect(found, 4, None))
        try:
            listener.open()
        except OSError as error:
            self._telemetry.emit("link_socket_failed", text=str(error))
            return
        self._listener = listener

    async def close(self) -> None:
        """End every link; calls in flight see LinkClosed."""
        if self._listener is not None:
            self._listener.close()
        for link in list(self._links):
            await link.drain()
            link.close("the worker leaves")
        for watcher in list(self._watchers):
            watcher.cancel()

    def _orphaned(self) -> None:
        self._orphan = True
        self._telemetry.emit("orphaned", worker=self._worker)
        self.open_socket()

    def _connect(
        self, transport: Transport, packet: int, lost: Callable[[], None] | None
    ) -> None:
        link = Link(transport, self._limits, packet=packet)

        async def hello(args: list[Any]) -> Any:
            return self._hello(link, args)

        async def leave(args: list[Any]) -> Any:
            self._leave("the node asked for it")
            return OK

        functions: dict[str, Callable[[list[Any]], Awaitable[Any]]] = {
            "hello": hello,
            "drain": leave,
            "shutdown": leave,
        }
        link.register(functions)
        link.start()
        self._links.add(link)
        if lost is None:
            asyncio.get_running_loop().call_later(HELLO_S, _expect_hello, link)
        watcher = asyncio.create_task(self._watch(link, lost))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _watch(self, link: Link, lost: Callable[[], None] | None) -> None:
        await link.closed.wait()
        self._links.discard(link)
        self._runtime.detach(link)
        if self._current is link:
            self._current = None
        self._telemetry.emit("link_closed", text=link.close_reason)
        if lost is not None:
            lost()

    def _hello(self, link: Link, args: list[Any]) -> dict[str, Any]:
        match args:
            case [
                {
                    "protocol": int(protocol),
                    "node": str(node),
                    "started_ms": int(started_ms),
                    "digests": dict(theirs),
                }
            ]:
                pass
            case _:
                raise BridgeError(
                    "invalid_request", "expected one map of protocol, node, started_ms, digests"
                )
        if protocol != PROTOCOL:
            raise BridgeError(
                "invalid_request", f"expected protocol {PROTOCOL}, the node speaks {protocol}"
            )
        refused = {
            str(name): f"the gateway has contract digest {self._digests.get(name)}, got {digest}"
            for name, digest in theirs.items()
            if self._digests.get(name) != digest
        }
        accepted = sorted(set(theirs) - set(refused))
        for name, text in refused.items():
            self._telemetry.emit("contract_refused", runtime="elixir", subsystem=name, text=text)
        if self.linked and link is not self._current and started_ms < self._started_ms:
            self._supersede(link)
        else:
            older, self._current = self._current, link
            self._started_ms = started_ms
            self._runtime.attach(link, frozenset(accepted))
            if older is not None and older is not link:
                self._supersede(older)
        self._telemetry.emit("link_up", node=node)
        return {
            "protocol": PROTOCOL,
            "worker": self._worker,
            "pid": os.getpid(),
            "orphan": self._orphan,
            "digests": dict(self._digests),
            "accepted": accepted,
            "refused": refused,
        }

    def _supersede(self, link: Link) -> None:
        """Tell an older node that a newer one took its place, once its hello is answered."""

        def end() -> None:
            if link.alive:
                link.cast(SUPERSEDED)
                asyncio.get_running_loop().call_later(0.1, link.close, "superseded")

        asyncio.get_running_loop().call_soon(end)


def _expect_hello(link: Link) -> None:
    if link.alive and link.hello is None:
        link.close(f"no hello within {HELLO_S:g} s")
