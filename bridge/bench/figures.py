"""What was measured against what, and how it is shown. No I/O here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing, its peer in the same run, and the median ratio of the turns.

    `goal` is what issue and docs hold the ratio (or, without a peer, the figure) to.
    """

    name: str
    subject: str
    peer: str
    ratio: float | None
    goal: str

    def row(self) -> tuple[str, str, str, str, str]:
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return self.name, self.subject, self.peer, ratio, self.goal


HEADINGS = ("figure", "bridge", "peer", "ratio", "goal")


def compare(name: str, turns: Sequence[tuple[float, float]], unit: str, goal: str) -> Figure:
    """Make a figure of (subject, peer) pairs, each measured one right after the other."""
    subjects, peers = zip(*turns, strict=True)
    ratio = median(subject / peer for subject, peer in turns)
    return Figure(
        name, f"{median(subjects):,.0f} {unit}", f"{median(peers):,.0f} {unit}", ratio, goal
    )
