"""One real message over WebSocket to each runtime, and by each edge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from bridge.client import ErrorReply, NotReached, connected
from bridge.message import JSON, RuntimeName

AGAIN_S = 0.1
SUBSYSTEM = "heartbeat"
# A query of a key nothing was committed to: it writes nothing, and `runtime` picks who answers.
TOPIC = f"{SUBSYSTEM}:bridge-up"


@dataclass(frozen=True, slots=True)
class Finding:
    """How a runtime answered, or an edge: `error` is empty if it did."""

    runtime: str
    subsystem: str
    round_trip_ms: float | None
    error: str = ""
    retryable: bool = False


async def probe(
    url: str, token: str, runtimes: Iterable[RuntimeName], timeout_s: float
) -> list[Finding]:
    """Ask each runtime for the same query, again until it answers or time is up."""
    asked = [(name, {"runtime": name}) for name in runtimes]
    return await asyncio.gather(*(_until_ok(url, token, *one, timeout_s) for one in asked))


async def probe_edge(url: str, token: str, name: str, timeout_s: float) -> Finding:
    """Ask whoever owns the subsystem, by the edge at `url`."""
    return await _until_ok(url, token, name, {}, timeout_s)


async def _until_ok(
    url: str, token: str, name: str, request: dict[str, JSON], timeout_s: float
) -> Finding:
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = max(deadline - time.monotonic(), 0.1)
        finding = await _ask(url, token, name, request, left_s)
        if not finding.retryable or time.monotonic() + AGAIN_S >= deadline:
            return finding
        await asyncio.sleep(AGAIN_S)


async def _ask(
    url: str, token: str, name: str, request: dict[str, JSON], timeout_s: float
) -> Finding:
    try:
        async with connected(url, token) as client:
            await client.join(TOPIC, timeout_s=timeout_s)
            started = time.perf_counter()
            await client.push(TOPIC, "status", request, timeout_s=timeout_s)
            took_ms = (time.perf_counter() - started) * 1000
    except ErrorReply as error:
        response = error.response
        text = f"{response.get('code')}: {response.get('message')}"
        # A key that somebody else wrote to stays so, until somebody puts it right.
        damaged = "redis_key" in response.get("detail", {})
        retryable = response.get("retryable") is True and not damaged
        return Finding(name, SUBSYSTEM, None, text, retryable)
    except NotReached as error:
        return Finding(name, SUBSYSTEM, None, str(error), retryable=True)
    return Finding(name, SUBSYSTEM, took_ms)
