"""What may happen to a move, and what comes of it: one table. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from bridge.errors import BridgeError
from bridge.message import JSON, RuntimeName

Phase = Literal["steady", "shadow", "canary", "moved", "rolled_back"]
Event = Literal["start", "promote", "hold", "resume", "rollback", "abort"]
MOVING: tuple[Phase, ...] = ("shadow", "canary")

# (phase, event) -> the phases it may lead to. Where there are two, the plan says which.
TABLE: Mapping[tuple[Phase, Event], tuple[Phase, ...]] = {
    ("steady", "start"): ("shadow", "canary"),
    ("shadow", "promote"): ("canary", "moved"),
    ("shadow", "hold"): ("shadow",),
    ("shadow", "resume"): ("shadow",),
    ("shadow", "rollback"): ("rolled_back",),
    ("shadow", "abort"): ("steady",),
    ("canary", "promote"): ("canary", "moved"),
    ("canary", "hold"): ("canary",),
    ("canary", "resume"): ("canary",),
    ("canary", "rollback"): ("rolled_back",),
    ("canary", "abort"): ("steady",),
    ("moved", "rollback"): ("rolled_back",),
    ("moved", "start"): ("shadow", "canary"),
    ("rolled_back", "start"): ("shadow", "canary"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """A stage of a plan. `samples` are comparisons in a shadow, in a canary messages that the
    candidate answered.
    """

    phase: Literal["shadow", "canary"]
    share: int  # percent of the messages (or keys) that the candidate gets
    samples: int

    def __str__(self) -> str:
        return "shadow" if self.phase == "shadow" else f"canary {self.share} %"


@dataclass(frozen=True, slots=True)
class Move:
    """One move, as it is stored. Its id is the epoch it began with, `step` counts from 0, times
    are Redis's, in milliseconds.
    """

    id: str
    subsystem: str
    source: RuntimeName
    target: RuntimeName
    plan: tuple[Step, ...]
    policy: Mapping[str, float]
    contract: str  # its digest: nobody moves from one contract to another
    auto: bool
    phase: Phase
    step: int
    held: bool
    epoch: int
    started_ms: int
    step_ms: int  # since when it is in this step
    changed_ms: int
    by: str
    why: str

    @property
    def moving(self) -> bool:
        return self.phase in MOVING

    @property
    def at(self) -> Step:
        return self.plan[self.step]

    @property
    def owner(self) -> RuntimeName:
        """Return who owns the subsystem, as far as this move decides it."""
        return self.target if self.phase == "moved" else self.source

    @property
    def share(self) -> int:
        return self.at.share if self.phase == "canary" else 0

    def __str__(self) -> str:
        text = str(self.at) if self.moving else self.phase.replace("_", " ")
        return f"{text}, on hold" if self.held else text

    def as_json(self) -> dict[str, JSON]:
        return asdict(self)

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Move:
        return cls(**{**stored, "plan": tuple(Step(**step) for step in stored["plan"])})


@dataclass(frozen=True, slots=True)
class Change:
    """Who does it, when and why, and the epoch it makes."""

    epoch: int
    at_ms: int
    by: str
    why: str


def start(
    before: Move | None,
    subsystem: str,
    source: RuntimeName,
    target: RuntimeName,
    plan: Sequence[Step],
    policy: Mapping[str, float],
    *,
    contract: str,
    auto: bool,
    change: Change,
) -> Move:
    """Return a new move in the first step of its plan. Raises BridgeError `invalid_request`."""
    phase = before.phase if before else "steady"
    _allowed(phase, "start", before)
    if source == target:
        raise refused(f"{target} owns {subsystem} already: there is nothing to move")
    return Move(
        id=str(change.epoch),
        subsystem=subsystem,
        source=source,
        target=target,
        plan=tuple(plan),
        policy=dict(policy),
        contract=contract,
        auto=auto,
        phase=plan[0].phase,
        step=0,
        held=False,
        epoch=change.epoch,
        started_ms=change.at_ms,
        step_ms=change.at_ms,
        changed_ms=change.at_ms,
        by=change.by,
        why=change.why,
    )


def step(move: Move, event: Event, change: Change, *, passing: int = 0) -> Move:
    """Return the move after an event. A promotion passes over so many steps of the plan.

    Raises BridgeError `invalid_request` where the table has nothing, or the move is on hold.
    """
    _allowed(move.phase, event, move)
    to, held, at, step_ms = TABLE[move.phase, event][0], move.held, move.step, move.step_ms
    match event:
        case "promote":
            if held:
                raise refused(f"the move of {move.subsystem} is on hold: resume it first")
            at += 1 + passing
            to = move.plan[at].phase if at < len(move.plan) else "moved"
            at, step_ms = min(at, len(move.plan) - 1), change.at_ms
        case "hold":
            if held:
                raise refused(f"the move of {move.subsystem} is on hold already")
            held = True
        case "resume":
            if not held:
                raise refused(f"the move of {move.subsystem} is not on hold")
            held = False
    return replace(
        move,
        phase=to,
        step=at,
        held=held and to in MOVING,
        epoch=change.epoch,
        step_ms=step_ms,
        changed_ms=change.at_ms,
        by=change.by,
        why=change.why,
    )


def diagram() -> str:
    """Return the table as a Mermaid state diagram; docs/moves.md has it."""
    lines = ["stateDiagram-v2", "    [*] --> steady"]
    arrows: dict[tuple[str, str], list[str]] = {}
    for (phase, event), targets in TABLE.items():
        for target in targets:
            arrows.setdefault((phase, target), []).append(event)
    lines += [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in arrows.items()]
    return "\n".join(lines)


def refused(text: str, **detail: JSON) -> BridgeError:
    return BridgeError("invalid_request", text, **detail)


def _allowed(phase: Phase, event: Event, move: Move | None) -> None:
    if (phase, event) in TABLE:
        return
    possible = [name for name in get_args(Event) if (phase, name) in TABLE]
    what = (
        f"a move to {move.target} is in {move}" if move and move.moving else "no move is running"
    )
    raise refused(
        f"{what}: `{event}` is not possible, expected one of {', '.join(possible)}",
        expected=possible,
        actual=event,
        phase=phase,
    )
