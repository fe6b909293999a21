"""What `status`, `doctor` and `joelclaw` say of joelclaw's intake and of the outlet, alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bridge.cli.command import when
from bridge.joelclaw.intake.intake import ECHO
from bridge.joelclaw.intake.takeover import IntakeStatus
from bridge.joelclaw.outlet.adapter import OutletStatus
from bridge.message import JSON, RUNTIMES
from bridge.up import builds

COLUMNS = {"what": "what", "found": "found"}

_INTAKE = {
    "free": "not the bridge; joelclaw's daemon, if it runs",
    "taken": "the bridge takes the events",
    "releasing": "being given back",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is so; `warning` says what is wrong with it, empty if nothing is."""

    what: str
    found: str
    warning: str = ""


def of_intake(status: IntakeStatus) -> list[Finding]:
    """Return what is to be said of an intake, a line for each thing."""
    taken = status.state == "taken"
    since = f" since {when(status.since_ms)}" if taken and status.since_ms else ""
    no_holder = "no worker takes them: is the bridge running, with BRIDGE_OUTLET?"
    others = ", ".join(status.others)
    second_consumer = (
        f"somebody else listens for the gateway's events ({others}): a second daemon or pi "
        "session takes some of them and deletes others; `joelclaw gateway stream` only looks"
    )
    echoes = (
        f"{status.echoes} events whose source begins with {ECHO} were dropped as the bridge's own"
    )
    return [
        Finding("intake", _INTAKE[status.state] + since),
        Finding(
            "holder", status.holder or "none", no_holder if taken and not status.holder else ""
        ),
        Finding("in flight", str(status.in_flight)),
        Finding("waiting", f"{status.waiting} for gateway, {status.waiting_main} for main"),
        Finding(
            "listeners",
            others or "none but the bridge",
            second_consumer if taken and others else "",
        ),
        *([Finding("echoes", echoes)] if status.echoes else []),
    ]


def of_outlet(outlet: OutletStatus) -> Finding:
    """Return what is to be said of an outlet."""
    nobody = "nobody receives there" if outlet.deliveries and not outlet.receiver else ""
    return Finding(
        "outlet",
        f"{outlet.kind}, {outlet.deliveries} not delivered",
        outlet.failing or outlet.warning or nobody,
    )


def of_workers(status: JSON) -> list[Finding]:
    """Return who serves whom, and where the workers differ though they should not."""
    workers, edge = status.get("workers"), status.get("edge", {})
    if not isinstance(workers, list):
        return []
    names = ", ".join(worker["worker"] for worker in workers)
    stopped = [
        f"{worker['worker']} commits nothing: Redis refuses {worker['refused']}"
        for worker in workers
        if worker["refused"]
    ]
    clients = (
        f"{edge['sockets']} sockets, {edge['topics']} topics, {edge['in_flight']} in flight, "
        f"{status['rates']['commits_per_s']} commits/s"
    )
    return [
        Finding("workers", f"{len(workers)}: {names}", "; ".join(stopped)),
        Finding("clients", clients),
        *(
            Finding(f"last of {worker['worker']}", _told(worker["last"]))
            for worker in workers
            if worker["last"]
        ),
        *_apart(workers),
    ]


def _told(last: JSON) -> str:
    return f"{when(last['at_ms'])} {last['event']}: {last['text']}"


def _apart(workers: list[JSON]) -> Iterator[Finding]:
    """Yield each subsystem that some workers reach in a runtime, and others do not."""
    for runtime in RUNTIMES:
        reached = {worker["worker"]: worker["runtimes"].get(runtime, {}) for worker in workers}
        for name in sorted(set().union(*reached.values())):
            without = [worker for worker, served in reached.items() if not served.get(name)]
            if 0 < len(without) < len(workers):
                yield Finding(
                    f"{name} in {runtime}",
                    f"reached by {len(workers) - len(without)} of {len(workers)} workers",
                    f"{', '.join(without)} cannot reach it",
                )


def of_builds(directory: Path) -> list[Finding]:
    """Return which builds are served, what is no longer what runs, and what was left out."""
    left_out = [Finding("left out", "", fault) for fault in builds.left_out(directory)]
    kept = list(builds.kept(directory))
    if not kept:
        return left_out
    shown = ", ".join(f"{name} {runtime} {build.digest}" for name, runtime, build in kept)
    stale = [
        Finding(
            f"{name} in {runtime}",
            build.digest,
            f"{', '.join(changed)} changed since: `bridge reload {name}` takes it in",
        )
        for name, runtime, build in kept
        if (changed := build.changed())
    ]
    return [Finding("builds", shown), *stale, *left_out]


def outlet_in(status: JSON) -> OutletStatus | None:
    """Return what a worker's /admin/status says of the outlet, None if there is none."""
    told = status.get("joelclaw", {}).get("outlet")
    return OutletStatus(**told) if told else None
