"""Run recorded events through one implementation, and hold its decisions to the daemon's.

Events that the daemon lost are asked as well, but what they would have changed is not kept: what
follows is decided in both from the same past.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bridge.canonical import parse
from bridge.contracts.contract import Contract, Operation
from bridge.errors import BridgeError, Refusal, RuntimeFault
from bridge.message import JSON, Invocation, context_for
from bridge.observe.recording import item_of, lines
from bridge.runtimes.runtime import Runtime

RECEIVE = "receive"
MAIN, DAEMON = "main", "gateway"  # what was pushed to `main` the daemon reads as its own
# What the daemon did -> the decisions that are the same.
SAME: Mapping[str, frozenset[str]] = {
    "prompt": frozenset({"immediate"}),
    "unstored": frozenset({"immediate"}),
    "telegram": frozenset({"immediate"}),
    "batched": frozenset({"batched"}),
    "suppressed": frozenset({"suppressed"}),
    "duplicate": frozenset({"duplicate"}),
    "mode": frozenset({"sleep", "wake"}),
}
DROPPED = frozenset({"lost", "malformed"})  # what the daemon should not have done
MAX_TYPES = 50
TELL_EVERY = 1000  # events

Kind = Literal["same", "different", "dropped", "not compared"]


class NotReplayable(Exception):
    """The subsystem decides on no events; the text says what is expected."""


@dataclass(slots=True)
class Group:
    """Events with the same fate in the daemon and the same decision of ours."""

    kind: Kind
    daemon: str
    ours: str
    count: int = 0
    types: Counter[str] = field(default_factory=Counter)
    example: str = ""

    def add(self, event_type: str, event_id: str) -> None:
        self.count += 1
        self.types[event_type if len(self.types) < MAX_TYPES else "(other types)"] += 1
        self.example = self.example or event_id


@dataclass(slots=True)
class Comparison:
    """All that was replayed, by what differs."""

    events: int = 0
    groups: dict[tuple[str, str], Group] = field(default_factory=dict)

    def add(self, daemon: str, ours: str, event: JSON) -> None:
        self.events += 1
        group = self.groups.get((daemon, ours))
        if group is None:
            group = self.groups[daemon, ours] = Group(kind_of(daemon, ours), daemon, ours)
        named = event if type(event) is dict else {}
        group.add(
            str(named.get("type", "(no type)"))[:100], str(named.get("id", "(no id)"))[:100]
        )

    def of(self, kind: Kind) -> list[Group]:
        """Return the groups of a kind, the largest first."""
        found = (group for group in self.groups.values() if group.kind == kind)
        return sorted(found, key=lambda group: -group.count)

    def count(self, kind: Kind) -> int:
        return sum(group.count for group in self.of(kind))


def kind_of(daemon: str, ours: str) -> Kind:
    if daemon in DROPPED:
        return "dropped"
    if daemon not in SAME:
        return "not compared"
    return "same" if ours in SAME[daemon] else "different"


def receiver(contract: Contract) -> Operation:
    """Return the operation that takes events. Raises NotReplayable."""
    operation = contract.operations.get(RECEIVE)
    if operation is None or operation.kind != "command":
        raise NotReplayable(
            f"{contract.name} has no command `{RECEIVE}`: a replay needs one that takes "
            '{"event": …} and replies {"decision": …}, such as triage has'
        )
    return operation


async def replay(
    recording: Path,
    contract: Contract,
    runtime: Runtime,
    zone: str = "UTC",
    doing: Callable[[str], None] = lambda what: None,
) -> Comparison:
    """Replay a recording. Raises NotReplayable, BadRecording, or what the runtime raises."""
    operation = receiver(contract)
    fates = _fates(recording)
    sessions: dict[str, _Session] = {}
    found = Comparison()
    for line in lines(recording):
        if "mode" in line and "n" not in line:
            session = _session(sessions, DAEMON, contract, runtime, zone)
            await session.switch(line["mode"], line["at_ms"])
        if (item := item_of(line)) is None:
            continue
        if found.events % TELL_EVERY == 0:
            doing(f"running events of {recording}: {found.events:,} done")
        fate = fates.get(line["n"], "inconclusive")
        session = _session(sessions, line["session"], contract, runtime, zone)
        event, ours = await session.receive(
            operation, line["n"], line["at_ms"], item, keep=fate not in (*DROPPED, "waiting")
        )
        found.add(fate, ours, event)
    return found


class _Session:
    """One session's state and timers."""

    def __init__(self, key: str, contract: Contract, runtime: Runtime, zone: str) -> None:
        self._key = key
        self._contract = contract
        self._runtime = runtime
        self._zone = zone
        self._state = contract.initial_state
        self._now_ms = 0
        self._timers: dict[str, tuple[int, str, JSON]] = {}
        self._mode = "wake"

    async def receive(
        self, operation: Operation, n: int, at_ms: int, item: bytes, *, keep: bool
    ) -> tuple[JSON, str]:
        """Return the event and what the implementation decides on it."""
        await self._until(at_ms)
        try:
            event = parse(item)
            request = operation.check_request({"event": event})
        except BridgeError:
            return _readable(item), "refused"  # at the boundary: it would be in the quarantine
        try:
            reply = await self._ask(operation, request, f"replay/{n}", keep=keep)
        except Refusal as refusal:
            return event, f"refused: {refusal.reason}"
        except RuntimeFault as fault:
            return event, f"fault: {fault.kind}"
        if type(reply) is not dict or type(reply.get("decision")) is not str:
            raise NotReplayable(
                f"{self._contract.name} {RECEIVE} replies no `decision`: a replay needs a text "
                f"there, one of {', '.join(sorted(set().union(*SAME.values())))}"
            )
        return event, reply["decision"]

    async def switch(self, mode: str, at_ms: int) -> None:
        """Sleep or wake, as somebody told the daemon to."""
        name = "sleep" if mode == "sleep" else "wake"
        operation = self._contract.operations.get(name)
        if operation is not None and name != self._mode:
            await self._until(at_ms)
            with suppress(BridgeError):  # another's `sleep` may mean something else
                request = operation.check_request({})
                await self._ask(operation, request, f"replay/{name}/{at_ms}", keep=True)
        self._mode = name

    async def _until(self, at_ms: int) -> None:
        """Ask what timers ask before a time, in their order."""
        while due := [(due, name) for name, (due, _, _) in self._timers.items() if due <= at_ms]:
            due_ms, name = min(due)
            _, asked, request = self._timers.pop(name)
            self._now_ms = max(self._now_ms, due_ms)
            operation = self._contract.operation(asked, internal=True)
            checked = operation.check_request(request)
            await self._ask(operation, checked, f"replay/{name}/{due_ms}", keep=True)
        self._now_ms = max(self._now_ms, at_ms)

    async def _ask(
        self, operation: Operation, request: JSON, message_id: str, *, keep: bool
    ) -> JSON:
        contract = self._contract
        deadline_ms = self._now_ms + contract.timeout_ms
        outcome = await self._runtime.handle(
            Invocation(
                subsystem=contract.name,
                key=self._key,
                operation=operation.name,
                kind=operation.kind,
                request=request,
                state=self._state,
                context=context_for(message_id, self._now_ms, deadline_ms, self._zone, self._key),
                digest=contract.digest,
                timeout_ms=contract.timeout_ms,
            ),
            contract.judge(operation, self._runtime.name),
        )
        if keep and operation.kind == "command":
            self._state = outcome.state
            self._set_timers(outcome.effects)
        return outcome.reply

    def _set_timers(self, effects: Iterable[Mapping[str, Any]]) -> None:
        for effect in effects:
            match effect:
                case {"effect": "schedule", "id": name, "at_ms": at_ms}:
                    self._timers[name] = (at_ms, effect["operation"], effect["request"])
                case {"effect": "cancel", "id": name}:
                    self._timers.pop(name, None)


def _session(
    known: dict[str, _Session], name: str, contract: Contract, runtime: Runtime, zone: str
) -> _Session:
    key = DAEMON if name == MAIN else name
    if key not in known:
        known[key] = _Session(key, contract, runtime, zone)
    return known[key]


def _fates(recording: Path) -> dict[int, str]:
    """Return the last fate of each event."""
    return {line["n"]: line["fate"] for line in lines(recording) if "fate" in line}


def _readable(item: bytes) -> JSON:
    try:
        return parse(item)
    except BridgeError:
        return None
