"""Once around the runtimes, on evidence, under load, while everything is killed."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter

from bridge.client import ErrorReply, NotReached
from bridge.up.admin import fetch, put
from tests.chaos.process import BridgeProcess, runtimes_here
from tests.chaos.run import run

SEED = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(2**32))
MOST_S = 120.0  # it ends as soon as it is around
KILLS = {"kill worker": 2, "kill beam": 2, "kill typescript": 2, "kill redis": 1}
PAUSE_S = (1.0, 3.0)
LOOK_S = 0.2
ORDER = {"event": "start", "plan": "shadow:30,canary:30,100", "samples": 10, "auto": True}


def test_a_subsystem_goes_around_the_runtimes_and_nothing_is_lost_or_repeated() -> None:
    print(f"CHAOS_SEED={SEED}")
    report = asyncio.run(run(MOST_S, SEED, drive=tour, chances=KILLS, pause_s=PAUSE_S))
    print(report)
    assert (report.findings, report.unsettled, report.leftovers) == ([], [], {}), report.logs
    runtimes = runtimes_here()
    around = {f"counter is {runtime}'s": 1 for runtime in runtimes}
    assert dict(report.counts["routed"]).items() >= around.items(), report.logs
    canary = report.counts["counter commits"]
    assert all(canary[f"{runtime} as canary"] for runtime in runtimes)


async def tour(bridge: BridgeProcess, counts: Counter[str]) -> None:
    """Move the counter to each runtime and home again; what is rolled back is tried again."""
    home, *away = runtimes_here()
    for target in (*away, home):
        while not await _move(bridge, target, counts):  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(LOOK_S)
        counts[f"counter is {target}'s"] += 1


async def _move(bridge: BridgeProcess, target: str, counts: Counter[str]) -> bool:
    url = f"{bridge.url}/admin/moves/counter"
    try:
        await asyncio.to_thread(put, url, "", {**ORDER, "to": target, "by": "tour"})
    except (ErrorReply, NotReached) as error:
        if "owns counter already" in str(error):
            return True  # the answer to the last order was lost
        counts["refused" if isinstance(error, ErrorReply) else "not reached"] += 1
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            status = await asyncio.to_thread(fetch, url)
        except NotReached:
            continue
        if status["phase"] not in ("shadow", "canary"):
            counts[status["phase"]] += 1
            return bool(status["owner"] == target)
