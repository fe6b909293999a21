"""What the Elixir runtime makes of a node's answer, and of none; over in-memory ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bridge.errors import BridgeError, RuntimeFault, RuntimeUnavailable
from bridge.link.link import Link
from bridge.link.transports.memory import pair
from bridge.message import Invocation, Outcome, context_for
from bridge.runtimes import elixir
from bridge.runtimes.elixir import ElixirRuntime

TIMEOUT_MS = 50


class Rig:
    """A runtime and the node's end of its link; `handle` is what the node does."""

    def __init__(self) -> None:
        ours, theirs = pair()
        self.link, self.node = Link(ours), Link(theirs)
        self.runtime = ElixirRuntime()
        self.link.start()
        self.runtime.attach(self.link, frozenset({"counter"}))

    def node_does(self, handle: Callable[[list[Any]], Any]) -> None:
        self.node.register({"handle": handle})
        self.node.start()

    async def asked(self) -> Outcome:
        context = context_for("m", 0, 1000, "UTC", "k")
        return await self.runtime.handle(
            Invocation("counter", "k", "total", "query", {}, {}, context, "d", TIMEOUT_MS)
        )


def run(test: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        rig = Rig()
        await test(rig)
        rig.link.close("done")
        rig.node.close("done")

    asyncio.run(main())


async def _never(args: list[Any]) -> Any:
    await asyncio.Event().wait()


def test_a_node_that_does_not_answer_in_time_is_unavailable_not_faulty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(elixir, "GRACE_MS", 10)

    async def test(rig: Rig) -> None:
        rig.node_does(_never)
        assert not rig.link.stalled
        with pytest.raises(RuntimeUnavailable) as caught:
            await rig.asked()
        assert caught.value.message == "elixir: no answer within 60 ms"

    run(test)


def test_a_timeout_that_the_node_reports_is_the_handlers_although_it_comes_after_the_time() -> (
    None
):
    async def test(rig: Rig) -> None:
        async def handle(args: list[Any]) -> Any:
            await asyncio.sleep(args[0]["timeout_ms"] / 1000 + 0.02)
            return {"fault": {"kind": "timeout", "message": "total took longer than 50 ms"}}

        rig.node_does(handle)
        with pytest.raises(RuntimeFault) as caught:
            await rig.asked()
        assert caught.value.kind == "timeout"
        assert caught.value.message == "elixir: total took longer than 50 ms"

    run(test)


def test_a_link_that_closes_meanwhile_makes_it_unavailable() -> None:
    async def test(rig: Rig) -> None:
        rig.node_does(lambda args: rig.node.close("killed"))
        with pytest.raises(RuntimeUnavailable):
            await rig.asked()

    run(test)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("crashed", "runtime_fault"),
        ("unknown_subsystem", "runtime_unavailable"),
        ("digest_mismatch", "runtime_unavailable"),
        ("overloaded", "overloaded"),
    ],
)
def test_each_kind_of_fault_has_its_code(kind: str, code: str) -> None:
    async def test(rig: Rig) -> None:
        rig.node_does(lambda args: {"fault": {"kind": kind, "message": "so"}})
        with pytest.raises(BridgeError) as caught:
            await rig.asked()
        assert caught.value.code == code

    run(test)
