"""Whether the evidence of a step is enough, and for what. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from bridge.message import JSON
from bridge.moves.confidence import lower, samples_for, upper
from bridge.moves.evidence import Accepted, Evidence
from bridge.moves.machine import Move, refused

Outcome = Literal["pass", "fail", "inconclusive"]

CRASH_LOOP = 3  # times that the candidate went away in one move
STOOD_IN = 0.1  # of the candidate's messages that another had to answer
MISSED = 0.2  # of what should have been compared
TIMED_OUT = 0.01  # of the compared messages
SLOW = 0.05  # of the candidate's answers that took longer than `slow_us`
SLOWER_MS = 50.0  # what a candidate may take beyond ...
SLOWER_TIMES = 3.0  # ... so many times the owner's whole 95th percentile
LATE = 20  # answers before anybody is called slow


@dataclass(frozen=True, slots=True)
class Policy:
    """What a move is held to. Rates are shares of 1."""

    tolerated: float = 0.0  # messages that may differ; more than that fails
    below: float = 0.0  # the rate of differences to be ruled out; 0: what the samples can show
    slower_ms: float = SLOWER_MS

    def as_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def of_json(cls, stored: Mapping[str, float]) -> Policy:
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`urgent`: not a matter of numbers, the candidate is wrong or goes down again and again."""

    outcome: Outcome
    reasons: tuple[str, ...]
    urgent: bool = False

    def as_json(self) -> dict[str, JSON]:
        return {"outcome": self.outcome, "reasons": list(self.reasons), "urgent": self.urgent}


def check_policy(move_policy: Policy, comparisons: int) -> None:
    """Refuse what can never pass. Raises BridgeError `invalid_request`."""
    policy = move_policy
    if not 0 <= policy.tolerated < 1 or not 0 <= policy.below < 1 or policy.slower_ms <= 0:
        raise refused("rates are at least 0 and below 100 percent, slower_ms is more than 0")
    if policy.below and policy.below <= policy.tolerated:
        raise refused("the rate to be ruled out has to be above the one that is tolerated")
    if policy.below and comparisons and upper(comparisons, 0) > policy.below:
        raise refused(
            f"{comparisons} comparisons cannot rule out {policy.below:.2%}: "
            f"{samples_for(policy.below)} of them without a difference would",
            expected=samples_for(policy.below),
            actual=comparisons,
        )


def judge(
    move: Move, evidence: Evidence, accepted: Sequence[Accepted] = (), now_ms: int = 0
) -> Verdict:
    """Judge the step a move is in."""
    policy = Policy.of_json(move.policy)
    failed, urgent = _failures(move, policy, evidence, accepted, now_ms)
    if failed:
        return Verdict("fail", tuple(failed), urgent)
    missing = _missing(move, policy, evidence, accepted, now_ms)
    if missing:
        return Verdict("inconclusive", tuple(missing))
    compared, different = evidence.compared, evidence.different(accepted, now_ms)
    return Verdict(
        "pass",
        (
            f"{different} of {compared} compared messages differ: with 95 % confidence fewer "
            f"than {upper(compared, different):.2%} do",
        ),
    )


def slow_us(move: Move, evidence: Evidence) -> float:
    """Return from when on an answer of the candidate counts as slow."""
    policy = Policy.of_json(move.policy)
    owner = evidence.latency("whole", move.source)
    return SLOWER_TIMES * owner.percentile_us(95) + policy.slower_ms * 1000


def _failures(
    move: Move, policy: Policy, evidence: Evidence, accepted: Sequence[Accepted], now_ms: int
) -> tuple[list[str], bool]:
    counts, found = evidence.counts, list[str]()
    if counts["violations"]:
        found.append(f"{counts['violations']} answers of {move.target} broke the contract")
    if counts["losses"] >= CRASH_LOOP:
        found.append(f"{move.target} went away {counts['losses']} times")
    urgent = bool(found)
    compared = evidence.compared + counts["before"]
    different = evidence.different(accepted, now_ms)
    if lower(compared, different) > policy.tolerated:
        found.append(f"{different} of {compared} compared messages differ")
    if lower(compared, evidence.timed_out) > TIMED_OUT:
        found.append(f"{move.target} did not end in {evidence.timed_out} of {compared} messages")
    asked, stood_in = counts[f"asked:{move.share}"], counts[f"stood_in:{move.share}"]
    if lower(asked, stood_in) > STOOD_IN:
        found.append(f"{move.target} did not answer {stood_in} of its {asked} messages")
    took, limit = evidence.latency("took", move.target), slow_us(move, evidence)
    slow = took.above(limit)
    if took.n >= LATE and lower(took.n, slow) > SLOW:
        found.append(
            f"{slow} of {took.n} answers of {move.target} took longer than {limit / 1000:.0f} ms"
        )
    return found, urgent


def _missing(
    move: Move, policy: Policy, evidence: Evidence, accepted: Sequence[Accepted], now_ms: int
) -> list[str]:
    counts, step, found = evidence.counts, move.at, list[str]()
    compared, different = evidence.compared, evidence.different(accepted, now_ms)
    if step.phase == "shadow" and compared < step.samples:
        found.append(f"{compared} of {step.samples} comparisons")
    elif policy.below and upper(compared, different) > policy.below:
        found.append(
            f"{compared} comparisons, {different} of them different, do not rule out "
            f"{policy.below:.2%}"
        )
    answered = counts[f"asked:{move.share}"] - counts[f"stood_in:{move.share}"]
    if step.phase == "canary" and answered < step.samples:
        found.append(f"{answered} of {step.samples} answers of {move.target}")
    if lower(compared + counts["missed"], counts["missed"]) > MISSED:
        found.append(f"{move.target} could not be asked {counts['missed']} times")
    return found
