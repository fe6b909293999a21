"""A running bridge whose Inngest is away: it is said, nothing is dead, all comes in order."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from bridge.client import connected
from tests.deadline import until
from tests.joelclaw.inngest.inngest_server import (
    InngestServer,
    Request,
    accepted,
    always,
    response,
)
from tests.running import ALONE, SUBSYSTEMS, Up, bridge

COUNTER = {
    "BRIDGE_CONTRACTS": str(SUBSYSTEMS),
    "BRIDGE_IMPLEMENTATIONS": str(SUBSYSTEMS / "implementations.json"),
}


def test_effects_wait_for_an_inngest_that_is_away_and_are_said(tmp_path: Path) -> None:
    async def main() -> None:
        inngest = InngestServer()
        inngest.answer = always(response(503, {"error": "not now"}))
        url = await inngest.start()
        up = await asyncio.to_thread(Up, tmp_path, **ALONE, **COUNTER, BRIDGE_INNGEST_URL=url)
        try:
            async with connected(up.run["url"]) as client:
                for key in ("a", "b", "c"):
                    await client.join(f"counter:{key}")
                    for n in range(5):
                        request = {"count": 2, "message_id": f"{key}-{n}"}
                        await client.push(f"counter:{key}", "notify", request)
            await until(lambda: len(inngest.requests) >= 3)
            status = await asyncio.to_thread(bridge, tmp_path, "status", "--json")
            found = {row["what"]: row for row in map(json.loads, status.stdout.splitlines())}
            assert "not now" in found["inngest effects"]["found"]
            assert found["effects"]["found"].startswith("30 held, 0 waiting, the oldest for ")
            assert found["dead"]["found"] == "0"
            doctor = await asyncio.to_thread(bridge, tmp_path, "doctor")
            assert "inngest: not reached since " in doctor.stdout
            ids: list[str] = []

            def take(request: Request) -> bytes:
                ids.extend(event["id"] for event in request.events)
                return accepted(request)

            inngest.answer = take
            await until(lambda: len(ids) >= 30, "all were taken")
        finally:
            await asyncio.to_thread(up.__exit__)
            await inngest.stop()
        assert len(ids) == len(set(ids)) == 30
        for key in ("a", "b", "c"):
            expected = [f"{key}-{n}/{i}" for n in range(5) for i in (0, 1)]
            assert [id for id in ids if id.startswith(f"{key}-")] == expected

    asyncio.run(main())
