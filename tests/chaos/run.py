"""One run: a bridge, clients at work, the route moving, things going wrong; then the verdict."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol, TypeVar

from bridge.contracts.implementations import Handler, load_all, python_handlers
from bridge.contracts.registry import Registry
from bridge.errors import BridgeError
from bridge.history import Finding, collect, verify
from bridge.journal.redis import RedisJournal
from tests.chaos.client import Client
from tests.chaos.killer import CHANCES, PAUSE_S, Killer
from tests.chaos.process import ROOT, BridgeProcess, runtimes_here
from tests.chaos.recorder import Recorder
from tests.chaos.sink import Sink, random_faults
from tests.chaos.workload import COUNTERS, HEARTBEATS, LATER_MS, chooser
from tests.deadline import DEADLINE_S
from tests.proxy import DroppyProxy
from tests.redis_server import RedisServer

SUBSYSTEMS = ROOT / "tests" / "subsystems"
IMPLEMENTATIONS = SUBSYSTEMS / "implementations.json"
SKEW = Path(__file__).parent / "skew"
ROUTE_EVERY_S = 0.2
CLIENTS = 6
SETTLE_S = 6 * DEADLINE_S


class _Server(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


_S = TypeVar("_S", bound=_Server)
Drive = Callable[[BridgeProcess, "Counter[str]"], Coroutine[None, None, None]]


@dataclass
class Report:
    """What happened in one run."""

    seed: int
    findings: list[Finding] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    leftovers: dict[int, str] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    logs: str = ""

    def __str__(self) -> str:
        lines = [f"seed {self.seed}"]
        for name, counts in self.counts.items():
            lines.append(f"{name}: " + ", ".join(f"{k} {v}" for k, v in sorted(counts.items())))
        lines += [f"unsettled: {text}" for text in self.unsettled]
        lines += [f"left behind: {kind} {pid}" for pid, kind in self.leftovers.items()]
        lines += [str(finding) for finding in self.findings[:40]]
        return "\n".join([*lines, f"{len(self.findings)} findings"])


async def run(
    seconds: float,
    seed: int,
    *,
    skew_ms: int = 0,
    history: Path | None = None,
    drive: Drive | None = None,
    chances: Mapping[str, int] = CHANCES,
    pause_s: tuple[float, float] = PAUSE_S,
) -> Report:
    """Work and break for so long, settle, and hold everything recorded against the journal.

    `drive` moves the subsystems and may end it sooner; by default they are routed at random
    times. What goes wrong, and how often, is `chances` and `pause_s`. The history is written to
    `history` if it is given.
    """
    report, random = Report(seed), Random(seed)
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        proxy = await stack.enter_async_context(_started(DroppyProxy(redis.port)))
        sink = await stack.enter_async_context(_started(Sink(random_faults(random))))
        bridge = BridgeProcess(
            extra_env={"PYTHONPATH": str(SKEW), "CHAOS_SKEW_MS": str(skew_ms)},
            redis_url=proxy.url,
            inngest_url=sink.url,
            contracts=str(SUBSYSTEMS),
            implementations=str(IMPLEMENTATIONS),
            outbox_lease_ms="2000",
            timeout_ms="5000",
        )
        stack.callback(bridge.close)
        stack.push_async_callback(_stop, bridge, report)
        await bridge.start()
        recorder, clients = Recorder(), list[Client]()
        for n in range(CLIENTS):
            own = Random(f"{seed}/{n}")
            topics = [*own.sample(COUNTERS, 2), own.choice(HEARTBEATS)]
            clients.append(
                Client(f"client-{n}", bridge.url, topics, chooser(own, topics), recorder, own)
            )
        working = [asyncio.create_task(client.run()) for client in clients]
        stack.push_async_callback(_cancel, *working)
        routed: Counter[str] = Counter()
        killer = Killer(bridge, redis, proxy, random, chances, pause_s)
        driven = drive(bridge, routed) if drive else _route(proxy.url, routed)
        breaking = [asyncio.create_task(killer.run()), asyncio.create_task(driven)]
        await asyncio.wait(
            [*working, *breaking], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        await _cancel(*breaking)
        await killer.heal()
        _raise_if_failed([*working, *breaking])
        journal = RedisJournal(redis.url)
        stack.push_async_callback(journal.close)
        registry = Registry.load(ROOT / "contracts" / "subsystems", SUBSYSTEMS)
        report.unsettled = await _settle(clients, journal, registry, skew_ms)
        _raise_if_failed(working)
        await _cancel(*working)
        if history is not None:
            recorder.write(history)
        handlers: dict[str, Handler] = python_handlers(load_all(IMPLEMENTATIONS), SUBSYSTEMS)
        report.findings = await verify(
            journal,
            recorder.lines,
            registry,
            sink.accepted,
            handlers=handlers,
            settled=not report.unsettled,
        )
        report.counts = {
            "clients": sum((client.counts for client in clients), Counter()),
            "broken": killer.counts,
            "routed": routed,
            "sink": Counter(requests=sink.requests, events=len(sink.accepted)),
        }
        for name in registry.names():
            evidence = await collect(journal, registry.get(name))
            report.counts[f"{name} commits"] = Counter(
                f"{entry['runtime']} as {entry['reason']}" for entry in evidence.entries
            ) + Counter({"dead": len(evidence.dead)})
        if report.findings or report.unsettled:
            report.logs = bridge.logs()
    return report


async def _settle(
    clients: list[Client], journal: RedisJournal, registry: Registry, skew_ms: int
) -> list[str]:
    """Let everything come to its end; return what did not in time."""
    for client in clients:
        client.working = False
    deadline = time.monotonic() + SETTLE_S + (2 * skew_ms + LATER_MS) / 1000
    left = await _until(deadline, lambda: _unanswered(clients))
    if left:
        return left
    for topic in HEARTBEATS:  # no timer sets itself again from now on
        for client in clients:
            if topic in client.topics:
                client.send_soon(topic, "configure", {"every_ms": 0})
                break
    left = await _until(deadline, lambda: _unanswered(clients))
    return left or await _until(deadline, lambda: _moving(clients, journal, registry))


async def _unanswered(clients: list[Client]) -> list[str]:
    return [
        f"{client.name} waits for {pending.id} {pending.operation}"
        for client in clients
        for pending in client.pending.values()
    ]


async def _moving(clients: list[Client], journal: RedisJournal, registry: Registry) -> list[str]:
    newest: dict[str, tuple[int, int]] = {}
    left = []
    for name in registry.names():
        left += [f"outbox: {entry}" for entry in await journal.outbox(name)]
        left += [f"timer: {timer}" for timer in await journal.timers(name)]
        position = ""
        while page := await journal.entries(name, after=position):
            position = page[-1][0]
            for _, entry in page:
                for n, effect in enumerate(entry["effects"]):
                    if effect["effect"] == "emit":
                        newest[f"{name}:{entry['key']}"] = (entry["seq"], n)
    left += [
        f"{client.name} has {client.seen.get(topic)} of {topic}, the newest is {newest[topic]}"
        for client in clients
        for topic in client.topics
        if topic in newest and client.seen.get(topic) != newest[topic]
    ]
    return left


async def _until(deadline: float, left: object) -> list[str]:
    assert callable(left)
    while True:
        remaining: list[str] = await left()
        if not remaining or time.monotonic() > deadline:
            return remaining
        await asyncio.sleep(0.1)


async def _route(url: str, routed: Counter[str]) -> None:
    """Move both subsystems from runtime to runtime, for ever, as `bridge route` does."""
    runtimes = runtimes_here()
    journal = RedisJournal(url)
    try:
        for n in itertools.count():
            for offset, subsystem in enumerate(("heartbeat", "counter")):
                owner = runtimes[(n + offset) % len(runtimes)]
                try:
                    current = {route.subsystem: route for route in await journal.routes()}
                    await journal.set_route(subsystem, owner, current[subsystem].fallback)
                    routed[owner] += 1
                except BridgeError as error:
                    routed[error.code] += 1
            await asyncio.sleep(ROUTE_EVERY_S)
    finally:
        await journal.close()


@asynccontextmanager
async def _started(server: _S) -> AsyncIterator[_S]:
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def _stop(bridge: BridgeProcess, report: Report) -> None:
    await bridge.stop()
    report.leftovers = bridge.leftovers()


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _raise_if_failed(tasks: list[asyncio.Task[None]]) -> None:
    """A defect of the harness must not look like a quiet run."""
    for task in tasks:
        if task.done() and not task.cancelled():
            with suppress(asyncio.CancelledError):
                task.result()
