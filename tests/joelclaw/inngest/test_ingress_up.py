"""The ingress of a running bridge, in workers of their own, with a real Redis."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deadline import DEADLINE_S, until
from tests.joelclaw.inngest.inngest_server import InngestServer, always, response
from tests.running import ALONE, SUBSYSTEMS, Up, bridge

KEY = "evt-s3cret"
COUNTER = {
    "BRIDGE_CONTRACTS": str(SUBSYSTEMS),
    "BRIDGE_IMPLEMENTATIONS": str(SUBSYSTEMS / "implementations.json"),
    "BRIDGE_INNGEST_EVENT_KEY": KEY,
}


def test_events_in_and_out_of_a_running_bridge(tmp_path: Path) -> None:
    async def main() -> None:
        inngest = InngestServer()
        settings = {
            **ALONE,
            **COUNTER,
            "BRIDGE_WORKERS": "1",
            "BRIDGE_INNGEST_URL": await inngest.start(),
            "BRIDGE_INNGEST_ROUTES": "count/asked=counter:c/notify",
        }
        up = await asyncio.to_thread(Up, tmp_path, **settings)
        try:
            url = up.run["url"]
            async with httpx.AsyncClient(trust_env=False) as client:
                asked = {"name": "count/asked", "data": {"count": 2}, "id": "wf/1"}
                events: list[Any] = [asked, {"name": "other/asked", "data": {}}]
                answers = [await client.post(f"{url}/e/{KEY}", json=events) for _ in range(2)]
                status = (await client.get(f"{url}/admin/status")).json()
                refused = await client.post(f"{url}/e/{KEY}x", json=events)
            first, again = [answer.json() for answer in answers]
            assert first == again
            assert first["status"] == 200
            assert first["ids"][1] == "0:other/asked"
            assert status["joelclaw"]["ingress"]["events"] == {
                "count/asked": {"routed": 2},
                "other/asked": {"passed": 2},
            }
            assert refused.status_code == 401

            def shown(*arguments: str) -> Any:
                done = bridge(tmp_path, *arguments, **COUNTER)
                assert done.returncode == 0, done.stderr
                return [json.loads(line) for line in done.stdout.splitlines()]

            [entry] = await asyncio.to_thread(shown, "journal", "list", "counter", "--json")
            assert entry["id"] == first["ids"][0]
            await until(lambda: inngest.names.count("counter/notified") == 2)
            # What Inngest will never take goes to the dead letters at once.
            inngest.answer = always(response(400, {"status": 400, "error": f"no key {KEY}"}))
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.post(f"{url}/e/{KEY}", json={**asked, "id": "wf/2"})
            dead: list[Any] = []
            async with asyncio.timeout(8 * DEADLINE_S):
                while len(dead) < 2:
                    dead = await asyncio.to_thread(shown, "dead", "list", "--json")
            assert [letter["attempts"] for letter in dead] == [1, 1]
            assert all(letter["error"].endswith('"error": "no key ***"}') for letter in dead)
        finally:
            await asyncio.to_thread(up.__exit__)
            await inngest.stop()
        logs = "".join(file.read_text() for file in (tmp_path / "logs").iterdir())
        assert "ingress_refused code=unauthorized" in logs
        assert KEY not in logs + json.dumps(status) + up.output

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("INNGEST_ROUTES", "a=nobody:k/add", "no subsystem 'nobody'"),
        ("INNGEST_ROUTES", "a=counter:k/add_later", "has no operation 'add_later'"),
        ("INNGEST_URL", "127.0.0.1:8288", "expected a URL like http://127.0.0.1:8288"),
    ],
)
def test_a_setting_that_cannot_work_stops_the_start(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    done = bridge(tmp_path, "up", "--port", "0", **ALONE, **COUNTER, **{f"BRIDGE_{name}": text})
    assert done.returncode == 2
    assert f"BRIDGE_{name}: " in done.stderr
    assert said in done.stderr
