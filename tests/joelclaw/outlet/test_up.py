"""The outlet of a running bridge: what is kept and shown, and who gets it in the end."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.files import CONTRACTS
from tests.deadline import DEADLINE_S
from tests.redis_server import RedisServer
from tests.running import ALONE, Up, bridge

SDK = CONTRACTS / "typescript" / "dist" / "index.js"
TAKE = Path(__file__).parent / "node/take.mjs"


def receive(up: Up, id: str, prompt: str) -> None:
    event = {
        "id": id,
        "type": "a.b",
        "source": "cli",
        "payload": {"prompt": prompt},
        "ts": 10**12,
    }
    request = json.dumps({"event": event})
    done = bridge(up.directory, "call", "triage:gateway", "receive", request)
    assert json.loads(done.stdout)["decision"] == "immediate"


def outlet(up: Up) -> dict[str, Any]:
    with urllib.request.urlopen(f"{up.run['url']}/admin/status") as answer:
        found: dict[str, Any] = json.load(answer)["joelclaw"]["outlet"]
        return found


def until_shown(up: Up, **expected: Any) -> dict[str, Any]:
    """Wait until a worker has looked; the other one may have looked earlier."""
    deadline = time.monotonic() + DEADLINE_S
    while not expected.items() <= (found := outlet(up)).items():
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("node") is None or not SDK.is_file(),
    reason="needs Node and `npm run build` in contracts/typescript; `make test` does both",
)
def test_decisions_wait_until_the_users_own_process_takes_them(tmp_path: Path) -> None:
    with Up(tmp_path, **ALONE, BRIDGE_OUTLET="serve") as up:
        for n in range(3):
            receive(up, f"e{n}", f"prompt {n}")
        shown = until_shown(up, deliveries=3)
        assert (shown["kind"], shown["receiver"], shown["failing"]) == ("serve", False, "")
        assert abs(shown["oldest_ms"] - time.time() * 1000) < 60_000
        listed = bridge(tmp_path, "deliveries", "triage", "--json", BRIDGE_OUTLET="serve")
        rows = [json.loads(line) for line in listed.stdout.splitlines()]
        assert [row["payload"]["prompt"] for row in rows] == ["prompt 0", "prompt 1", "prompt 2"]
        assert [(row["type"], row["attempts"]) for row in rows] == [("triage.prompt", 0)] * 3
        assert "triage: nobody is there to deliver to" in listed.stderr

        taken = json.loads(
            subprocess.run(
                ["node", str(TAKE), str(SDK), up.run["redis_url"], "3"],
                capture_output=True,
                check=True,
                timeout=DEADLINE_S,
            ).stdout
        )
        assert [delivery["payload"]["prompt"] for delivery in taken] == [
            "prompt 0",
            "prompt 1",
            "prompt 2",
        ]
        assert [delivery["id"] for delivery in taken] == [row["id"] for row in rows]
        assert bridge(tmp_path, "deliveries").stdout == "none\n"
        until_shown(up, deliveries=0, oldest_ms=None)


def test_a_session_that_is_not_registered_is_warned_of_and_pushed_to(tmp_path: Path) -> None:
    with RedisServer() as joelclaw:
        settings = {"BRIDGE_OUTLET": "session:agent", "BRIDGE_JOELCLAW_REDIS_URL": joelclaw.url}
        with Up(tmp_path, **ALONE, **settings) as up:
            receive(up, "e", "look")
            shown = until_shown(up, deliveries=0, receiver=False)
            assert "agent is not in joelclaw:gateway:sessions" in shown["warning"]


def test_an_outlet_that_cannot_be_ends_the_start_and_says_why(tmp_path: Path) -> None:
    settings = {"BRIDGE_OUTLET": "session:gateway", "BRIDGE_JOELCLAW_REDIS_URL": "redis://x:1"}
    done = bridge(tmp_path, "up", "--port", "0", **ALONE, **settings)
    assert done.returncode == 2
    assert "BRIDGE_OUTLET: 'session:gateway': the bridge itself takes" in done.stderr
