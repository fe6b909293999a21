"""Hello, who is asked of several nodes, and the orphan; in memory and over a real socket."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import Refusal, RuntimeUnavailable
from bridge.link import link as link_module
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
            "w",
            self.runtime,
            DIGESTS,
            self.path,
            SessionLimits(),
            Telemetry(),
            self.left.append,
            self._is_orphaned,
        )
        self.orphaned = 0

    def _is_orphaned(self) -> None:
        self.orphaned += 1

    def by_port(self, name: str, started_ms: int) -> Node:
        ours, theirs = pair()
        self.links.take_port(ours, 4)
        return Node(Link(theirs), name, started_ms)

    async def by_socket(self, name: str, started_ms: int) -> Node:
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, str(self.path))
        link = Link(Descriptors.of_socket(connection))
        return Node(link, name, started_ms)

    async def asked(self, subsystem: str = "heartbeat") -> Any:
        context = context_for("m", 0, 1000, "UTC", "k")
        invocation = Invocation(
            subsystem, "k", "status", "query", {}, {}, context, DIGESTS[subsystem], 1000
        )
        return await self.runtime.handle(invocation)


def run(test: Callable[[Rig], Awaitable[None]], *, admitted: bool = True) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="b-") as folder:
            rig = Rig(Path(folder))
            if admitted:
                rig.links.admit()
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


HEARTBEAT = {"heartbeat": DIGESTS["heartbeat"]}
COUNTER = {"counter": DIGESTS["counter"]}
OTHERS = {"heartbeat": "c" * 64, "counter": DIGESTS["counter"]}


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_the_newer_node_is_asked_whichever_says_hello_last(order: tuple[str, str]) -> None:
    async def test(rig: Rig) -> None:
        rig.links.open_socket()
        nodes = {name: await rig.by_socket(name, {"old": 1, "new": 2}[name]) for name in order}
        for node in nodes.values():
            await node.hello()
        assert await rig.asked() == Outcome("new", [], None)
        assert nodes["old"].link.alive

    run(test)


def test_an_older_node_stands_by_and_takes_up_again() -> None:
    async def test(rig: Rig) -> None:
        rig.links.open_socket()
        old, new = await rig.by_socket("old", 1), await rig.by_socket("new", 2)
        for node in (old, new):
            await node.hello()
        assert rig.runtime.nodes() == [
            _described("new", serves=["counter", "heartbeat"]),
            _described("old", stands_by=["counter", "heartbeat"]),
        ]
        new.link.close("it leaves")
        await until(lambda: len(rig.runtime.nodes()) == 1)
        assert await rig.asked() == Outcome("old", [], None)

    run(test)


def test_a_node_displaces_another_only_for_what_it_serves() -> None:
    async def test(rig: Rig) -> None:
        rig.links.open_socket()
        first = await rig.by_socket("first", 1)
        await first.hello()
        second = await rig.by_socket("second", 2)
        assert (await second.hello(digests=OTHERS))["accepted"] == ["counter"]
        assert await rig.asked() == Outcome("first", [], None)
        assert await rig.asked("counter") == Outcome("second", [], None)
        assert rig.runtime.nodes() == [
            _described("second", serves=["counter"]),
            _described("first", serves=["heartbeat"], stands_by=["counter"]),
        ]
        second.link.close("it leaves")
        await until(lambda: len(rig.runtime.nodes()) == 1)
        for subsystem in ("heartbeat", "counter"):
            assert await rig.asked(subsystem) == Outcome("first", [], None)

    run(test)


def test_two_nodes_that_serve_different_subsystems_both_serve() -> None:
    async def test(rig: Rig) -> None:
        rig.links.open_socket()
        one, two = await rig.by_socket("one", 1), await rig.by_socket("two", 2)
        await one.hello(digests=HEARTBEAT)
        await two.hello(digests=COUNTER)
        assert await rig.asked("heartbeat") == Outcome("one", [], None)
        assert await rig.asked("counter") == Outcome("two", [], None)
        one.link.close("it leaves")
        await until(lambda: not rig.runtime.available("heartbeat"))
        assert await rig.asked("counter") == Outcome("two", [], None)

    run(test)


def test_a_node_that_accepted_nothing_displaces_nobody() -> None:
    async def test(rig: Rig) -> None:
        rig.links.open_socket()
        first, second = await rig.by_socket("first", 1), await rig.by_socket("second", 2)
        await first.hello()
        await second.hello(digests={"heartbeat": "c" * 64, "counter": "c" * 64})
        assert await rig.asked() == Outcome("first", [], None)

    run(test)


def test_what_a_dying_node_was_asked_is_asked_of_the_one_that_stands_by() -> None:
    async def test(rig: Rig) -> None:
        rig.links.open_socket()
        old, new = await rig.by_socket("old", 1), await rig.by_socket("new", 2)
        for node in (old, new):
            await node.hello()

        async def die(args: list[Any]) -> Any:
            new.link.close("killed")

        new.link.register({"handle": die})
        assert await rig.asked() == Outcome("old", [], None)

    run(test)


def test_a_stopped_node_is_passed_over_until_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "PING_MS", 10)

    async def test(rig: Rig) -> None:
        rig.links.open_socket()
        old, new = await rig.by_socket("old", 1), await rig.by_socket("new", 2)
        for node in (old, new):
            await node.hello()
        transport = new.link._transport
        assert isinstance(transport, Descriptors)
        loop, fd = asyncio.get_running_loop(), transport._read_fd
        loop.remove_reader(fd)  # as one that is stopped
        await until(lambda: rig.runtime.nodes()[0]["stalled"])
        assert await rig.asked() == Outcome("old", [], None)
        loop.add_reader(fd, transport._readable)
        await until(lambda: not rig.runtime.nodes()[0]["stalled"])
        assert await rig.asked() == Outcome("new", [], None)

    run(test)


def test_the_same_node_on_a_second_link_counts_once_the_first_is_gone() -> None:
    async def test(rig: Rig) -> None:
        rig.links.open_socket()
        first, second = await rig.by_socket("one", 1), await rig.by_socket("one", 1)
        for node in (first, second):
            await node.hello()
        first.link.close("lost")
        await until(lambda: len(rig.runtime.nodes()) == 1)
        assert await rig.asked() == Outcome("one", [], None)

    run(test)


def test_a_node_is_greeted_once_the_worker_admits_it() -> None:
    async def test(rig: Rig) -> None:
        node = rig.by_port("one", 1)
        hello = asyncio.create_task(node.hello())
        assert await node.link.call("ping", [], 1000) == Atom("pong")
        assert not hello.done()
        rig.links.admit()
        assert (await hello)["worker"] == "w"

    run(test, admitted=False)


def test_a_worker_whose_port_ends_before_it_admits_a_node_says_so() -> None:
    async def test(rig: Rig) -> None:
        rig.by_port("one", 1).link.close("killed")
        await until(lambda: rig.orphaned == 1)

    run(test, admitted=False)


def test_a_node_that_reads_nothing_does_not_keep_a_leaving_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_links, "DRAIN_S", 0.01)

    async def test(rig: Rig) -> None:
        ours, theirs = pair()
        rig.links.take_port(ours, 4)
        node = Node(Link(theirs), "one", 1)
        await node.hello()
        theirs.reads = False
        asked = asyncio.create_task(rig.asked())
        await asyncio.sleep(0)
        await rig.links.close()
        with pytest.raises(RuntimeUnavailable):
            await asked

    run(test)


def _described(
    name: str, *, serves: list[str] | None = None, stands_by: list[str] | None = None
) -> dict[str, Any]:
    return {
        "node": name,
        "stalled": False,
        "serves": serves or [],
        "stands_by": stands_by or [],
        "builds": {},
    }


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
        detail = {"code": 1, "reason": 2, "message": 3, "self": 4}
        node.answer = {"refused": {"reason": "no", "message": "not so", "detail": detail}}
        with pytest.raises(Refusal) as caught:
            await rig.asked()
        assert caught.value.message == "not so"
        assert caught.value.detail == {**detail, "code": "no"}

    run(test)
