"""Hello, the newer node's right of way and the orphan, over in-memory ends and a real socket."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import Refusal
from bridge.link.link import Link
from bridge.link.session import SessionLimits
from bridge.link.terms import Atom
from bridge.link.transports.descriptors import Descriptors
from bridge.link.transports.memory import pair
from bridge.message import Invocation, Outcome, context_for
from bridge.runtimes import node_links
from bridge.runtimes.elixir import ElixirRuntime
from bridge.runtimes.node_links import NodeLinks
from bridge.telemetry import Telemetry
from tests.deadline import until

DIGESTS = {"heartbeat": "a" * 64, "counter": "b" * 64}


class Node:
    """The node's end of a link: says hello and answers `handle`."""

    def __init__(self, link: Link, name: str, started_ms: int) -> None:
        self.link = link
        self.name = name
        self.started_ms = started_ms
        self.answer: Any = {"ok": {"reply": name, "effects": [], "state": None}}

        async def handle(args: list[Any]) -> Any:
            return self.answer

        link.register({"handle": handle})
        link.start()

    async def hello(self, **more: Any) -> Any:
        said = {
            "protocol": 1,
            "node": self.name,
            "pid": 1,
            "started_ms": self.started_ms,
            "digests": DIGESTS,
            **more,
        }
        return await self.link.call("hello", [said], 2000)


class Rig:
    def __init__(self, folder: Path) -> None:
        self.runtime = ElixirRuntime()
        self.left: list[str] = []
        self.path = folder / "w.sock"
        self.links = NodeLinks(
            "w", self.runtime, DIGESTS, self.path, SessionLimits(), Telemetry(), self.left.append
        )
        self.casts: list[Any] = []

    def by_port(self, name: str, started_ms: int) -> Node:
        ours, theirs = pair()
        self.links.take_port(ours, 4)
        return Node(Link(theirs, on_cast=self.casts.append), name, started_ms)

    async def by_socket(self, name: str, started_ms: int) -> Node:
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, str(self.path))
        link = Link(Descriptors.of_socket(connection), on_cast=self.casts.append)
        return Node(link, name, started_ms)

    async def asked(self) -> Any:
        context = context_for("m", 0, 1000, "UTC", "k")
        invocation = Invocation(
            "heartbeat", "k", "status", "query", {}, {}, context, DIGESTS["heartbeat"], 1000
        )
        return await self.runtime.handle(invocation)


def run(test: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="b-") as folder:
            rig = Rig(Path(folder))
            await test(rig)
            await rig.links.close()

    asyncio.run(main())


def test_a_node_serves_once_it_said_hello() -> None:
    async def test(rig: Rig) -> None:
        node = rig.by_port("one", 1)
        assert not rig.runtime.available("heartbeat")
        welcome = await node.hello()
        assert welcome["accepted"] == ["counter", "heartbeat"]
        assert welcome["orphan"] is False
        assert await rig.asked() == Outcome("one", [], None)

    run(test)


def test_a_contract_of_another_digest_is_refused_with_both() -> None:
    async def test(rig: Rig) -> None:
        welcome = await rig.by_port("one", 1).hello(
            digests={"heartbeat": "c" * 64, "counter": DIGESTS["counter"]}
        )
        assert welcome["accepted"] == ["counter"]
        assert "a" * 64 in welcome["refused"]["heartbeat"]
        assert "c" * 64 in welcome["refused"]["heartbeat"]
        assert not rig.runtime.available("heartbeat")

    run(test)


def test_a_worker_whose_port_ended_listens_and_says_it_is_an_orphan() -> None:
    async def test(rig: Rig) -> None:
        node = rig.by_port("one", 1)
        await node.hello()
        node.link.close("killed")
        await until(rig.path.exists)
        assert not rig.runtime.available("heartbeat")
        successor = await rig.by_socket("two", 2)
        assert (await successor.hello())["orphan"] is True
        assert await rig.asked() == Outcome("two", [], None)
        assert await successor.link.call("drain", [], 1000) == Atom("ok")
        assert rig.left == ["the node asked for it"]

    run(test)


def test_the_newer_node_wins_whichever_says_hello_last() -> None:
    async def test(rig: Rig) -> None:
        rig.links.open_socket()
        old = await rig.by_socket("old", 1)
        await old.hello()
        new = await rig.by_socket("new", 2)
        await new.hello()
        await until(lambda: rig.casts == [Atom("superseded")])
        await until(lambda: not old.link.alive)
        again = await rig.by_socket("old", 1)
        await again.hello()
        await until(lambda: not again.link.alive)
        assert await rig.asked() == Outcome("new", [], None)

    run(test)


def test_a_peer_on_the_socket_that_does_not_say_hello_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_links, "HELLO_S", 0.05)

    async def test(rig: Rig) -> None:
        rig.links.open_socket()
        node = await rig.by_socket("one", 1)
        await node.hello()
        mute = await rig.by_socket("mute", 2)
        await until(lambda: not mute.link.alive)
        assert node.link.alive
        assert await rig.asked() == Outcome("one", [], None)

    run(test)


def test_a_refusal_keeps_its_reason_and_detail_over_the_link() -> None:
    async def test(rig: Rig) -> None:
        node = rig.by_port("one", 1)
        await node.hello()
        node.answer = {
            "refused": {"reason": "no", "message": "not so", "detail": {"code": 1, "x": 2}}
        }
        with pytest.raises(Refusal) as caught:
            await rig.asked()
        assert caught.value.message == "not so"
        assert caught.value.detail == {"code": "no", "x": 2}

    run(test)
