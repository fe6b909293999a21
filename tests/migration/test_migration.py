"""States of another version, by the real handlers of both versions and the in-memory journal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.implementations import python_handler
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.effects import Effects
from bridge.errors import BridgeError, ContractBroken
from bridge.history.replay import check_replay
from bridge.history.verify import collect
from bridge.journal.memory import MemoryJournal
from bridge.message import Message
from bridge.runtimes.python import PythonRuntime
from bridge.telemetry import Telemetry
from tests.contracts.broken import SOUND, written

HERE = Path(__file__).parent
ONE, TWO = HERE / "one", HERE / "two"
TIMES = {"lease_ms": 1000, "attempts": 3, "timeout_ms": 1000}


class World:
    """One journal, and a dispatcher over it for each version of the contract."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.journal = MemoryJournal(clock=lambda: self.now_ms)
        self.one, self.two = (self._dispatcher(folder) for folder in (ONE, TWO))

    def _dispatcher(self, folder: Path) -> Dispatcher:
        handler = python_handler("ledger", str(folder / "ledger" / "ledger.py"))
        python = PythonRuntime({"ledger": handler}, budget_ms=100)
        return Dispatcher(Registry.load(folder), self.journal, {"python": python}, Telemetry())

    async def put(self, key: str, n: int, id: str = "") -> Any:
        """Let the first version add to a key."""
        return await send(self.one, "add", {"n": n}, id or f"one/{key}", key)

    async def stored(self, key: str) -> tuple[int, Any]:
        snapshot = await self.journal.read("ledger", key)
        return snapshot.contract, snapshot.state


async def send(
    to: Dispatcher, operation: str, request: Any, id: str = "m", key: str = "k", **more: Any
) -> Any:
    message = Message(id, "ledger", key, operation, request)
    return await to.dispatch(message, **{"timeout_ms": 2000, **more})


def run(test: Callable[[World], Any]) -> None:
    async def main() -> None:
        world = World()
        await world.journal.set_route("ledger", "python", None)
        await test(world)

    asyncio.run(main())


async def refused(awaitable: Any) -> str:
    with pytest.raises(BridgeError) as caught:
        await awaitable
    assert caught.value.code == "state_refused"
    assert not caught.value.retryable
    return caught.value.message


def test_a_state_is_migrated_in_the_commit_of_the_next_command() -> None:
    async def test(world: World) -> None:
        await world.put("k", 7)
        assert await world.stored("k") == (1, {"total": 7})
        assert await send(world.two, "add", {"n": 2}) == {"minor": 900, "currency": "EUR"}
        assert await world.stored("k") == (2, {"minor": 900, "currency": "EUR"})
        [(_, before), (_, entry)] = await world.journal.entries("ledger")
        assert (before["version"], "migrated" in before) == (1, False)
        assert (entry["version"], entry["seq"]) == (2, 2)
        assert entry["migrated"] == {
            "from_version": 1,
            "state": {"minor": 700, "currency": "EUR"},
        }

    run(test)


def test_a_query_sees_it_migrated_and_writes_nothing() -> None:
    async def test(world: World) -> None:
        await world.put("k", 7)
        assert await send(world.two, "total", {}) == {"minor": 700, "currency": "EUR"}
        assert await world.stored("k") == (1, {"total": 7})

    run(test)


def test_a_key_without_a_state_is_of_no_version() -> None:
    async def test(world: World) -> None:
        assert await send(world.two, "total", {}) == {"minor": 0, "currency": "EUR"}
        assert await send(world.two, "add", {"n": 1}) == {"minor": 100, "currency": "EUR"}

    run(test)


def test_what_a_newer_version_wrote_is_refused_by_an_older_one_and_kept() -> None:
    async def test(world: World) -> None:
        await send(world.two, "add", {"n": 2})
        before = await world.stored("k")
        for operation, request in (("add", {"n": 1}), ("total", {})):
            text = await refused(send(world.one, operation, request, f"m/{operation}"))
            assert text == (
                "ledger:k: its state cannot be used: a newer version wrote it, 2: this is 1. "
                "It is kept as it is"
            )
        assert await world.stored("k") == before

    run(test)


@pytest.mark.parametrize(
    ("total", "why"),
    [
        (13, "python: ledger.migrate raised ValueError: thirteen (ledger.py:24)"),
        (-1, "python: ledger@2 state: /minor breaks minimum: expected 0, got integer"),
    ],
)
def test_a_migration_that_fails_is_that_keys_alone(total: int, why: str) -> None:
    async def test(world: World) -> None:
        await world.put("bad", total)
        await world.put("good", 1)
        for operation, request in (("add", {"n": 1}), ("total", {})):
            text = await refused(send(world.two, operation, request, key="bad"))
            assert f"version 1 cannot be migrated: {why}" in text
        assert await world.stored("bad") == (1, {"total": total})
        assert await send(world.two, "add", {"n": 1}, key="good") == {
            "minor": 200,
            "currency": "EUR",
        }

    run(test)


def without_migration(folder: Path, **changes: Any) -> Registry:
    document = json.loads((ONE / "ledger" / "subsystem.json").read_text())
    document = {**document, "version": 2, **changes}
    written(folder, document, "ledger")
    return Registry.load(folder)


@pytest.mark.parametrize("holds", [True, False])
def test_without_a_migration_a_state_that_holds_is_used_and_another_is_not(
    tmp_path: Path, holds: bool
) -> None:
    async def test(world: World) -> None:
        state = {
            "type": "object",
            "additionalProperties": False,
            "required": ["total"],
            "properties": {"total": {"type": "integer", "maximum": 10 if holds else 5}},
        }
        registry = without_migration(tmp_path, state=state)
        handler = python_handler("ledger", str(ONE / "ledger" / "ledger.py"))
        python = PythonRuntime({"ledger": handler}, budget_ms=100)
        later = Dispatcher(registry, world.journal, {"python": python}, Telemetry())
        await world.put("k", 7)
        if holds:
            assert await send(later, "add", {"n": 1}) == {"total": 8}
            assert await world.stored("k") == (2, {"total": 8})
        else:
            text = await refused(send(later, "add", {"n": 1}))
            assert (
                "no migration takes version 1, and ledger@2 state: /total breaks maximum" in text
            )
            assert await world.stored("k") == (1, {"total": 7})

    run(test)


def test_a_repeat_of_what_an_older_version_committed_gets_its_reply() -> None:
    async def test(world: World) -> None:
        await world.put("k", 7, "same")
        # The second version fills in `currency`: the request is the same one all the same.
        assert await send(world.two, "add", {"n": 7}, "same") == {"total": 7}
        assert await world.stored("k") == (1, {"total": 7})
        with pytest.raises(BridgeError, match="with another payload"):
            await send(world.two, "add", {"n": 8}, "same")
        token = {"n": 1, "token": "t"}
        await send(world.one, "add", token, "first")
        assert await send(world.two, "add", token, "second") == {"total": 8}

    run(test)


def test_a_repeat_that_the_new_version_would_refuse_gets_its_reply_too() -> None:
    async def test(world: World) -> None:
        await world.put("k", 2_000_000, "same")
        assert await send(world.two, "add", {"n": 2_000_000}, "same") == {"total": 2_000_000}
        for request, id in (({"n": 2_000_000}, "new"), ({"n": 2_000_001}, "same")):
            with pytest.raises(BridgeError, match="breaks maximum"):
                await send(world.two, "add", request, id)

    run(test)


def test_a_timer_of_an_older_version_fires_on_the_migrated_state() -> None:
    async def test(world: World) -> None:
        await world.put("k", 7)
        later = {"n": 3, "at_ms": world.now_ms + 1000}
        await send(world.one, "later", later, "later")
        world.now_ms += 2000
        effects = Effects(world.journal, world.two, {}, ["ledger"], Telemetry(), None, **TIMES)
        await effects._timers_once("ledger")
        assert await world.stored("k") == (2, {"minor": 1000, "currency": "EUR"})
        assert await world.journal.timers("ledger") == []

    run(test)


def test_a_timer_of_a_state_that_cannot_be_migrated_is_kept() -> None:
    async def test(world: World) -> None:
        await world.put("k", 13)
        await send(world.one, "later", {"n": 3, "at_ms": world.now_ms}, "later")
        effects = Effects(world.journal, world.two, {}, ["ledger"], Telemetry(), None, **TIMES)
        await effects._timers_once("ledger")
        [timer] = await world.journal.timers("ledger")
        assert timer.error.startswith("state_refused: ledger:k: its state cannot be used")

    run(test)


def test_a_key_is_migrated_alone_once() -> None:
    async def test(world: World) -> None:
        await world.put("k", 7)
        assert await world.two.migrate("ledger", "k", 2000)
        assert await world.stored("k") == (2, {"minor": 700, "currency": "EUR"})
        assert not await world.two.migrate("ledger", "k", 2000)
        assert not await world.two.migrate("ledger", "nothing", 2000)
        [_, (_, entry)] = await world.journal.entries("ledger")
        assert (entry["operation"], entry["effects"], entry["seq"]) == (":migrate", [], 2)
        await world.put("bad", 13)
        assert "thirteen" in await refused(world.two.migrate("ledger", "bad", 2000))

    run(test)


def test_migrated_entries_replay() -> None:
    async def test(world: World) -> None:
        registry = Registry.load(TWO)
        handler = python_handler("ledger", str(TWO / "ledger" / "ledger.py"))
        await world.put("a", 7)
        await world.put("b", 7)
        await world.two.migrate("ledger", "a", 2000)
        await send(world.two, "add", {"n": 1}, "a/2", "a")
        await send(world.two, "add", {"n": 1}, "b/2", "b")
        evidence = await collect(world.journal, registry.get("ledger"))
        assert list(check_replay(evidence, handler)) == []
        evidence.entries[-1]["migrated"]["state"]["minor"] = 1
        assert {found.message_id for found in check_replay(evidence, handler)} == {"b/2"}

    run(test)


def test_a_contract_migrates_from_versions_before_it(tmp_path: Path) -> None:
    written(tmp_path, {**SOUND, "migrates_from": 1})
    with pytest.raises(ContractBroken, match="expected a version before 1, got 1"):
        Registry.load(tmp_path)
