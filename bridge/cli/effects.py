"""What `status`, `doctor` and `outbox` say of effects that wait, and of those that are dead."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from bridge.cli.command import when
from bridge.cli.findings import Finding
from bridge.journal.redis import RedisJournal
from bridge.journal.values import OUTBOX_KINDS, Damaged, Tally, TargetState

EXECUTED_WITH = {
    "inngest": "BRIDGE_INNGEST_URL",
    "system_event": "BRIDGE_JOELCLAW_REDIS_URL",
}


@dataclass(frozen=True, slots=True)
class Pending:
    """All that is to be said of effects, read at one time."""

    now_ms: int
    tallies: dict[str, Tally]
    targets: dict[str, TargetState]


async def read_pending(journal: RedisJournal) -> Pending:
    tallies = dict[str, Tally]()
    for name in await journal.subsystems():
        with contextlib.suppress(Damaged):  # `storage.look` names the key
            tallies[name] = await journal.tally(name)
    targets = {kind: await journal.targets.state(kind) for kind in OUTBOX_KINDS}
    return Pending(await journal.now_ms(), tallies, targets)


def of_effects(pending: Pending) -> list[Finding]:
    """Return a line for each target that is away, then one for all effects."""
    found = [
        Finding(f"{kind} effects", away_text(kind, state), "they wait until it is back")
        for kind, state in pending.targets.items()
        if state.since_ms
    ]
    tallies = pending.tallies.values()
    held, waiting = sum(t.held for t in tallies), sum(t.waiting for t in tallies)
    oldest_ms = min((t.oldest_ms for t in tallies if t.oldest_ms), default=0)
    text = f"{held} held, {waiting} waiting"
    if oldest_ms:
        text += f", the oldest for {(pending.now_ms - oldest_ms) / 1000:.0f} s"
    error = next((t.error for t in tallies if t.error), "")
    warning = f"`bridge outbox` shows them{error and f'; last error: {error}'}"
    found.append(Finding("effects", text, warning if held or (waiting and error) else ""))
    if dead := sum(t.dead for t in tallies):
        error = next(t.dead_error for t in tallies if t.dead)
        found.append(Finding("dead", str(dead), f"`bridge dead` shows them; last error: {error}"))
    else:
        found.append(Finding("dead", "0"))
    return found


def why_held(kind: str, state: TargetState) -> str:
    """Say what an effect of this kind waits for."""
    if state.since_ms:
        return away_text(kind, state)
    if kind in EXECUTED_WITH:
        return f"{kind} is held until `bridge up` is started with {EXECUTED_WITH[kind]}"
    return f"{kind} is held: nothing in this version carries it out"


def away_text(kind: str, state: TargetState) -> str:
    return (
        f"{kind}: not reached since {when(state.since_ms)}, {state.attempts} attempts, the next "
        f"in {state.wait_ms / 1000:.0f} s: {state.error}"
    )
