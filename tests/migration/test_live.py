"""A contract that changes under live keys, as `up`, `doctor` and `contracts` tell and do it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bridge.journal.redis import RedisJournal
from bridge.journal.values import Commit
from bridge.message import Version
from tests.deadline import DEADLINE_S
from tests.running import ALONE, Up, bridge, environment, processes_of

HERE = Path(__file__).parent
KEYS = 300


def folders(version: str) -> tuple[str, ...]:
    folder = HERE / version
    return ("--contracts", str(folder), "--implementations", f"{folder}/implementations.json")


async def fill(url: str, totals: dict[str, int]) -> None:
    """Commit states of the first version, as its worker does."""
    journal = RedisJournal(url)

    async def one(key: str, total: int) -> None:
        entry = {"operation": "add", "request": {"n": total}, "zone": "UTC", "deadline_ms": 0}
        route = (await journal.read("ledger", key)).route
        commit = Commit(
            *(key, "print", "", "ledger", key, Version(), route.epoch, "python", "owner"),
            *(1_000_000, {"total": total}, {"total": total}, [], entry),
        )
        assert (await journal.commit(commit, 20_000)).status == "committed"

    try:
        for n in range(0, len(totals), 500):
            await asyncio.gather(*(one(*each) for each in list(totals.items())[n : n + 500]))
    finally:
        await journal.close()


async def versions(url: str) -> dict[str, tuple[int, Any]]:
    journal = RedisJournal(url)
    try:
        found = {}
        for key in await journal.keys("ledger"):
            snapshot = await journal.read("ledger", key)
            found[key] = snapshot.contract, snapshot.state
        return found
    finally:
        await journal.close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bridge's directory with keys of the first version, of which two cannot go on."""
    directory = tmp_path_factory.mktemp("ledger")
    with Up(directory, *folders("one"), **ALONE) as up:
        totals = {f"k{n:05}": n for n in range(100, 100 + KEYS)}
        asyncio.run(fill(up.run["redis_url"], {**totals, "bad": -1, "thirteen": 13}))
    return directory


def test_a_changed_contract_goes_on_under_live_keys(directory: Path) -> None:
    with Up(directory, *folders("two"), **ALONE) as up:
        said = f"ledger@2: 0 live states hold, {KEYS + 2} would be migrated"
        assert said in up.output
        live = bridge(directory, "contracts", "check", "--live", "--json", *folders("two"))
        [row] = [row for row in map(json.loads, live.stdout.splitlines()) if row["total"]]
        assert (row["holds"], row["migrates"], row["breaks"]) == (0, KEYS + 2, 0)
        assert live.returncode == 0
        older = bridge(directory, "contracts", "check", "--live", "ledger", *folders("one"))
        assert older.returncode == 0
        doctor = bridge(directory, "doctor", BRIDGE_CONTRACTS=str(HERE / "two"))
        assert f"0 live states hold, {KEYS + 2} would be migrated" in doctor.stdout

        asked = bridge(directory, "can-i-cutover", "ledger", "--to", "python", "--json")
        found = json.loads(asked.stdout)["findings"]
        [states] = [each for each in found if each["check"] == "states"]
        assert states["answer"] == "yes"
        assert states["what"] == f"0 live states hold, {KEYS + 2} would be migrated"

        added = bridge(directory, "call", "ledger:k00100", "add", '{"n": 1}')
        assert json.loads(added.stdout) == {"minor": 10100, "currency": "EUR"}
        older = bridge(directory, "contracts", "check", "--live", "ledger", *folders("one"))
        assert older.returncode == 1
        assert "k00100 (version 2): a newer version wrote it, 2: this is 1" in older.stderr

        kill_in_the_middle(directory, up)
        done = bridge(directory, "contracts", "migrate", "ledger")
        assert done.returncode == 1
        assert "bad: ledger:bad: its state cannot be used" in done.stderr
        assert "thirteen: ledger:thirteen: its state cannot be used" in done.stderr
        found = asyncio.run(versions(up.run["redis_url"]))
        assert found.pop("bad") == (1, {"total": -1})
        assert found.pop("thirteen") == (1, {"total": 13})
        assert found.pop("k00100") == (2, {"minor": 10100, "currency": "EUR"})
        expected = {
            f"k{n:05}": (2, {"minor": 100 * n, "currency": "EUR"}) for n in range(101, 100 + KEYS)
        }
        assert found == expected
        again = bridge(directory, "contracts", "migrate", "ledger", "--json")
        assert json.loads(again.stdout) == {
            "subsystem": "ledger",
            "keys": KEYS + 2,
            "migrated": 0,
            "failed": 2,
        }
        verified = bridge(directory, "journal", "verify", "ledger")
        assert verified.returncode == 0, verified.stdout


def kill_in_the_middle(directory: Path, up: Up) -> None:
    """Kill every worker once some keys are migrated, and not all."""
    command = [sys.executable, "-m", "bridge", "contracts", "migrate", "ledger"]
    migrating = subprocess.Popen(
        command, env=environment(directory), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline and migrating.poll() is None:
        found = asyncio.run(versions(up.run["redis_url"]))
        if sum(version == 2 for version, _ in found.values()) > 20:
            break
    for pid, text in processes_of(directory).items():
        if "bridge.gateway" in text:
            os.kill(pid, signal.SIGKILL)
    migrating.communicate(timeout=4 * DEADLINE_S)
    while bridge(directory, "call", "ledger:k00100", "total").returncode:
        assert time.monotonic() < deadline + 4 * DEADLINE_S
