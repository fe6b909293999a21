"""The checker against a journal that the real dispatcher filled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.bench import handler
from bridge.bench.processes import SUBSYSTEMS
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.history import Finding, verify
from bridge.journal.memory import MemoryJournal
from bridge.message import Message
from bridge.runtimes.python import PythonRuntime
from bridge.telemetry import Telemetry

REGISTRY = Registry.load(SUBSYSTEMS)
HANDLERS = {"bench": handler.handle}
MESSAGES = 1200  # more than two pages of the journal


class Recorded:
    """A journal with `MESSAGES` commits on two keys, and what one client recorded of them."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self.lines: list[dict[str, Any]] = []
        self.sink: list[dict[str, Any]] = []

    @classmethod
    async def make(cls) -> Recorded:
        journal = MemoryJournal(lambda: 1_000)
        contract = REGISTRY.get("bench")
        await journal.ensure_route("bench", contract.owner, contract.fallback)
        dispatcher = Dispatcher(
            REGISTRY, journal, {"python": PythonRuntime(HANDLERS, budget_ms=1000)}, Telemetry()
        )
        recorded = cls(journal)
        for n in range(MESSAGES):
            message = Message(f"m{n}", "bench", f"k{n % 2}", "write", {"pad": "é"})
            recorded.line("sent", message, connection=1, operation="write", request={"pad": "é"})
            reply = await dispatcher.dispatch(message, timeout_ms=5000)
            recorded.line("told", message, outcome="ok", reply=reply)
        while len(recorded.sink) < MESSAGES // 2:  # the other half waits
            for entry in await journal.claim("bench", ("inngest",), 50, 1000):
                recorded.sink.append(
                    {name: entry.effect[name] for name in ("id", "name", "data")}
                )
                await journal.complete(entry)
        return recorded

    def line(self, event: str, message: Message, **members: Any) -> None:
        self.lines.append(
            {
                "at": len(self.lines),
                "client": "ann",
                "event": event,
                "message_id": message.id,
                "attempt": 1,
                "topic": f"bench:{message.key}",
                **members,
            }
        )

    async def verify(self) -> list[Finding]:
        return await verify(self.journal, self.lines, REGISTRY, self.sink, handlers=HANDLERS)


def test_what_the_dispatcher_commits_and_answers_has_no_findings() -> None:
    async def scenario() -> None:
        recorded = await Recorded.make()
        assert recorded.sink
        assert await recorded.verify() == []

    asyncio.run(scenario())


@pytest.mark.slow
def test_an_acknowledgement_without_commit_is_found_in_a_real_journal() -> None:
    async def scenario() -> None:
        recorded = await Recorded.make()
        ghost = Message("ghost", "bench", "k0", "write", {})
        recorded.line("sent", ghost, connection=1, operation="write", request={"pad": "é"})
        recorded.line("told", ghost, outcome="ok", reply={"n": 1})
        text = "write was acknowledged and is not in the journal"
        assert await recorded.verify() == [Finding("lost", "k0", "ghost", text)]

    asyncio.run(scenario())


def test_what_the_sink_should_not_have_is_found_once() -> None:
    async def scenario() -> None:
        recorded = await Recorded.make()
        recorded.sink.append({"id": "foreign", "name": "bench/written", "data": {}})
        text = "inngest foreign was executed, no entry of any journal has it"
        assert await recorded.verify() == [Finding("phantom", "", "", text)]

    asyncio.run(scenario())


def test_what_the_sink_did_not_get_though_the_outbox_is_rid_of_it_is_lost() -> None:
    async def scenario() -> None:
        recorded = await Recorded.make()
        missing = recorded.sink.pop(0)
        text = "inngest effect 1 was neither executed, waiting nor dead"
        assert await recorded.verify() == [Finding("lost", "k0", missing["id"], text)]

    asyncio.run(scenario())
