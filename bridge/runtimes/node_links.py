"""Which nodes a worker is linked to: their hello, the port, the orphan's socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bridge.errors import BridgeError
from bridge.link.link import Function, Link
from bridge.link.session import SessionLimits
from bridge.link.terms import Atom
from bridge.link.transport import Transport
from bridge.link.transports.socket import SocketListener
from bridge.runtimes.elixir import ElixirRuntime
from bridge.telemetry import Telemetry

PROTOCOL = 1
# A node says hello at once; a peer on the socket that does not would hold a descriptor for ever.
HELLO_S = 10.0
DRAIN_S = 1.0
OK = Atom("ok")


class NodeLinks:
    """Accept nodes for one worker, by the port it was started on and by its link socket.

    A worker started as a port opens its socket when the port reaches end of file: it is an
    orphan then, until a node adopts it. `leave` is called for `drain` and `shutdown`, `orphaned`
    when the port has ended; both must return at once. Nodes are greeted from `admit` on: until
    then the worker has nothing to ask them for.
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
        orphaned: Callable[[], None] = lambda: None,
    ) -> None:
        self._worker = worker
        self._runtime = runtime
        self._digests = digests
        self._path = socket_path
        self._limits = limits
        self._telemetry = telemetry
        self._leave = leave
        self._tell_orphaned = orphaned
        self._orphan = False
        self._admits = asyncio.Event()
        self._more: Callable[[Link], Mapping[str, Function]] = lambda link: {}
        self._listener: SocketListener | None = None
        self._links: set[Link] = set()
        self._watchers: set[asyncio.Task[None]] = set()

    def admit(self, functions: Callable[[Link], Mapping[str, Function]] | None = None) -> None:
        """Answer the nodes that have said hello, and every later one at once.

        `functions` returns what else a node may call, over its link.
        """
        if functions is not None:
            self._more = functions
            for link in self._links:
                link.register(functions(link))
        self._admits.set()

    def counts(self) -> dict[str, int]:
        """Return what the links that are up did, dropped and refused."""
        counts = Counter[str]()
        for link in self._links:
            counts.update(asdict(link.counters))
        return dict(counts)

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
        with contextlib.suppress(TimeoutError):  # a node that is stopped reads nothing
            async with asyncio.timeout(DRAIN_S):
                for link in self._links:
                    await link.drain()
        for link in list(self._links):
            link.close("the worker leaves")
        for watcher in list(self._watchers):
            watcher.cancel()

    def _orphaned(self) -> None:
        self._orphan = True
        self._telemetry.emit("orphaned", worker=self._worker)
        self.open_socket()
        self._tell_orphaned()

    def _connect(
        self, transport: Transport, packet: int, lost: Callable[[], None] | None
    ) -> None:
        link = Link(transport, self._limits, packet=packet)

        async def hello(args: list[Any]) -> Any:
            await self._admits.wait()
            return self._hello(link, args)

        async def leave(args: list[Any]) -> Any:
            self._leave("the node asked for it")
            return OK

        async def builds(args: list[Any]) -> Any:
            self._runtime.rebuilt(link, _builds(args[0]))
            return OK

        functions: dict[str, Callable[[list[Any]], Awaitable[Any]]] = {
            "hello": hello,
            "builds": builds,
            "drain": leave,
            "shutdown": leave,
        }
        link.register({**functions, **self._more(link)})
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
                    **more,
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
        builds = _builds(more.get("builds"))
        performs = more.get("activities")
        self._runtime.attach(
            link,
            frozenset(accepted),
            name=node,
            started_ms=started_ms,
            builds=builds,
            performs=frozenset(map(str, performs if isinstance(performs, list) else ())),
        )
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


def _builds(said: object) -> dict[str, str]:
    return {str(k): str(v)[:64] for k, v in said.items()} if isinstance(said, dict) else {}


def _expect_hello(link: Link) -> None:
    if link.alive and link.hello is None:
        link.close(f"no hello within {HELLO_S:g} s")
