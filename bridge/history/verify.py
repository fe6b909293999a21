"""Read a journal and hold a recorded history against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bridge.contracts.implementations import Handler
from bridge.history.commits import (
    check_answers,
    check_identity,
    check_order,
    check_origin,
    check_owner,
    check_sequence,
)
from bridge.history.effects import check_executed, check_timers
from bridge.history.events import check_events
from bridge.history.evidence import Evidence, Finding
from bridge.history.records import read
from bridge.history.replay import check_queries, check_replay
from bridge.journal.records import with_states
from bridge.journal.store import Journal
from bridge.message import JSON, Version

if TYPE_CHECKING:
    from bridge.contracts.registry import Contract, Registry

PAGE = 500
EVERYTHING = 1_000_000  # outbox, timers and dead letters are read whole


def check(
    history: Iterable[Mapping[str, Any]],
    evidence: Evidence,
    *,
    executed: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    exactly_once: frozenset[str] = frozenset(),
    handler: Handler | None = None,
    settled: bool = False,
) -> list[Finding]:
    """Return every promise that the history, or the journal by itself, shows broken.

    `executed` has, by effect kind, what its receiver got in its order; kinds in `exactly_once`
    may not have come twice. `handler` is the Python implementation: every entry is replayed.
    """
    recorded = read(history, evidence.subsystem)
    findings = [
        *check_sequence(evidence),
        *check_identity(evidence),
        *check_answers(recorded, evidence),
        *check_origin(recorded, evidence),
        *check_order(recorded, evidence),
        *check_owner(evidence),
        *check_timers(evidence),
        *check_events(recorded, evidence, settled=settled),
    ]
    for kind, bodies in (executed or {}).items():
        findings += check_executed(evidence, kind, bodies, exactly_once=kind in exactly_once)
    if handler is not None:
        findings += check_replay(evidence, handler)
        findings += check_queries(recorded, evidence, handler)
    return findings


async def verify(
    journal: Journal,
    history: Iterable[Mapping[str, Any]],
    registry: Registry,
    sink: Iterable[Mapping[str, Any]] | None = None,
    *,
    handlers: Mapping[str, Handler] | None = None,
    settled: bool = False,
) -> list[Finding]:
    """Check every subsystem of the registry against what the journal holds now.

    `sink` is what Inngest got, in its order. Events of Inngest carry no subsystem: those that
    the journal of no subsystem has are reported once.
    """
    lines = list(history)
    bodies = None if sink is None else list(sink)
    findings: list[Finding] = []
    known: set[str] = set()
    everything = [await collect(journal, registry.get(name)) for name in registry.names()]
    for evidence in everything:
        own = inngest_ids(evidence)
        known |= own
        executed = (
            None if bodies is None else {"inngest": [b for b in bodies if b.get("id") in own]}
        )
        findings += check(
            lines,
            evidence,
            executed=executed,
            settled=settled,
            handler=(handlers or {}).get(evidence.subsystem),
        )
    for body in bodies or ():
        if body.get("id") not in known:
            text = f"inngest {body.get('id')} was executed, no entry of any journal has it"
            findings.append(Finding("phantom", "", "", text))
    return findings


async def collect(journal: Journal, contract: Contract) -> Evidence:
    """Read all that is stored about one subsystem."""
    subsystem = contract.name
    entries: list[dict[str, JSON]] = []
    position = ""
    while page := await journal.entries(subsystem, after=position, count=PAGE):
        entries += [entry for _, entry in page]
        position = page[-1][0]
    states: dict[str, tuple[Version, JSON]] = {}
    for key in await journal.keys(subsystem):
        snapshot = await journal.read(subsystem, key)
        states[key] = (snapshot.version, snapshot.state)

    def idempotency(operation: str, request: JSON) -> JSON | None:
        declared = contract.operations.get(operation)
        return None if declared is None else declared.idempotency_value(request)

    return Evidence(
        subsystem=subsystem,
        entries=list(with_states(entries)),
        states=states,
        routes=await journal.route_log(subsystem),
        outbox=await journal.outbox(subsystem, EVERYTHING),
        timers=await journal.timers(subsystem, EVERYTHING),
        dead=await journal.dead(subsystem, EVERYTHING),
        version=contract.version,
        initial_state=contract.initial_state,
        assign=contract.assign,
        queries=frozenset(
            name for name, operation in contract.operations.items() if operation.kind == "query"
        ),
        idempotency=idempotency,
    )


def inngest_ids(evidence: Evidence) -> set[str]:
    return {
        str(effect["id"])
        for entry in evidence.entries
        for effect in entry["effects"]
        if effect["effect"] == "inngest"
    }
