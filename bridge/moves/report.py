"""What is told of a move: where it is, what it has seen, and what that says. No I/O here."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.message import JSON
from bridge.moves.confidence import upper
from bridge.moves.evidence import Accepted, Evidence
from bridge.moves.machine import Move, Step
from bridge.moves.verdict import Verdict, slow_us

FAULTS = ("crashed", "timeout", "off_contract", "not_serialisable")


def report(
    move: Move,
    evidence: Evidence,
    accepted: Sequence[Accepted],
    now_ms: int,
    verdict: Verdict,
    per_second: float,
) -> dict[str, JSON]:
    """Return it as JSON; `per_second` is the subsystem's traffic of late."""
    compared, different = evidence.compared, evidence.different(accepted, now_ms)
    seen = sum(count for _, count in evidence.signatures())
    return {
        "move": move.as_json(),
        "stage": str(move),
        "verdict": verdict.as_json(),
        "evidence": {
            "build": evidence.build,
            "compared": compared,
            "different": different,
            "accepted": max(0, seen - different - evidence.timed_out),
            "timed_out": evidence.timed_out,
            "at_most": round(upper(compared, different), 6),
            "asked": evidence.counts[f"asked:{move.share}"] if move.share else 0,
            "stood_in": evidence.counts[f"stood_in:{move.share}"] if move.share else 0,
            **{
                name: evidence.counts[name]
                for name in (
                    *("missed", "dropped", "violations", "losses", "owner_faults"),
                    "restarts",
                )
            },
            "faults": sum(n for group, n in evidence.groups().items() if group.kind in FAULTS),
            "recovery_ms": evidence.counts["recovery_ms"]
            // max(1, evidence.counts["recoveries"]),
        },
        "latency_ms": _latencies(move, evidence),
        "slow_ms": round(slow_us(move, evidence) / 1000, 1),
        "differences": differences(evidence, accepted, now_ms),
        "per_second": round(per_second, 3),
        "plan": [
            {
                "step": str(step),
                "samples": step.samples,
                "expected_s": _expected_s(step, per_second),
                "now": move.moving and n == move.step,
            }
            for n, step in enumerate(move.plan)
        ],
    }


def differences(
    evidence: Evidence, accepted: Sequence[Accepted], now_ms: int
) -> list[dict[str, JSON]]:
    """Return the groups of differences, the most frequent first, each with an example."""
    samples = evidence.samples()
    found: list[dict[str, JSON]] = []
    for group, count in evidence.groups().items():
        by = next((a for a in accepted if a.covers(group, now_ms)), None)
        found.append(
            {
                **group._asdict(),
                "messages": count,
                "accepted": by.id if by else "",
                "example": samples.get(group),
            }
        )
    return found


def _latencies(move: Move, evidence: Evidence) -> dict[str, JSON]:
    told: dict[str, JSON] = {}
    for side, runtime in (("owner", move.source), ("candidate", move.target)):
        told[side] = {"runtime": runtime}
        for what in ("took", "whole"):
            latency = evidence.latency(what, runtime)
            told[side][what] = {
                "n": latency.n,
                **{f"p{p}": round(latency.percentile_us(p) / 1000, 3) for p in (50, 95, 99)},
            }
    return told


def _expected_s(step: Step, per_second: float) -> int | None:
    """Return how long a step takes at so many messages a second; None: nobody can tell."""
    share = 1.0 if step.phase == "shadow" else step.share / 100
    return round(step.samples / (per_second * share)) if per_second else None
