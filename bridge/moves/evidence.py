"""What a move has seen: counters, which many workers add to one sum. No I/O here.

Names of counters, as they stand in Redis:

    same                       the candidate's outcome was the owner's
    before                     the same, of earlier builds in a canary
    sig:[[op, pointer, kind]]  it differed in just these groups
    missed                     the candidate could not be asked, or was gone before it answered
    dropped                    not asked: the queue was full, or enough were asked this second
    violations                 outcomes of the candidate that broke the contract
    losses                     times it went away, those of one second counted once
    recovery_ms, recoveries    how long it was away, and how often it was back
    owner_faults               the owner itself failed: nothing to compare with
    asked:N, stood_in:N        at N percent, messages of the candidate's; another answered for it
    took:R:B, whole:R:B        computed by runtime R in latency bucket B; the message as a whole
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, log2
from typing import Any, NamedTuple

from bridge.message import JSON

OTHER = "sig:other"  # what did not fit any more; never accepted
TIMEOUT = "timeout"
PER_DOUBLING = 8  # latency buckets: each is 9 % wide


class Group(NamedTuple):
    """A kind of difference: of which operation, where, and what."""

    operation: str
    pointer: str
    kind: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A difference that is known and wanted, by whose word, why and until when."""

    id: str
    operation: str  # "" for every operation
    pointer: str
    kind: str
    owner: str
    reason: str
    until_ms: int
    at_ms: int = 0

    def covers(self, group: Group, now_ms: int) -> bool:
        return (
            now_ms < self.until_ms
            and (self.pointer, self.kind) == (group.pointer, group.kind)
            and self.operation in ("", group.operation)
        )


def bucket_of_us(us: float) -> int:
    """Return the latency bucket of so many microseconds."""
    return max(0, ceil(PER_DOUBLING * log2(us))) if us > 1 else 0


def us_of_bucket(bucket: int) -> float:
    """Return the longest time of a latency bucket."""
    return float(2 ** (bucket / PER_DOUBLING))


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of one kind, by bucket."""

    counts: Mapping[int, int] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return sum(self.counts.values())

    def percentile_us(self, percent: float) -> float:
        """Return the time that so many percent did not exceed, 0 without any."""
        left = self.n * percent / 100
        for bucket, count in sorted(self.counts.items()):
            left -= count
            if left <= 0:
                return us_of_bucket(bucket)
        return 0.0

    def above(self, us: float) -> int:
        """Count those that were longer for sure."""
        return sum(
            count for bucket, count in self.counts.items() if us_of_bucket(bucket - 1) > us
        )


@dataclass(slots=True)
class Evidence:
    """The sum, read from its counters and texts."""

    counts: Counter[str] = field(default_factory=Counter)
    texts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_hash(cls, stored: Mapping[str, str]) -> Evidence:
        """Read a hash: what is a number is a counter."""
        evidence = cls()
        for name, value in stored.items():
            if name.partition(":")[0] in ("move", "build", "sample", "since_ms", "last_loss_ms"):
                evidence.texts[name] = value
            else:
                evidence.counts[name] = int(value)
        return evidence

    @property
    def build(self) -> str:
        """Return the candidate's; with another one, or another one of the owner's, evidence
        begins anew.
        """
        return self.texts.get("build", "").rpartition("/")[2]

    def signatures(self) -> list[tuple[tuple[Group, ...], int]]:
        """Return which groups came together, and in how many messages."""
        return [
            (groups_of(name), count)
            for name, count in self.counts.items()
            if name.startswith("sig:")
        ]

    @property
    def compared(self) -> int:
        return self.counts["same"] + sum(count for _, count in self.signatures())

    def different(self, accepted: Sequence[Accepted] = (), now_ms: int = 0) -> int:
        """Count the messages with a difference that nobody accepted.

        A candidate's timeout is none: how long something takes is the machine's matter too.
        """
        return sum(
            count
            for groups, count in self.signatures()
            if not all(
                group.kind == TIMEOUT or any(a.covers(group, now_ms) for a in accepted)
                for group in groups
            )
        )

    @property
    def timed_out(self) -> int:
        """Return the messages whose candidate did not come to its end."""
        return sum(
            count
            for groups, count in self.signatures()
            if any(group.kind == TIMEOUT for group in groups)
        )

    def groups(self) -> dict[Group, int]:
        """Return the messages of each group, the most frequent first."""
        found: Counter[Group] = Counter()
        for groups, count in self.signatures():
            for group in groups:
                found[group] += count
        return dict(found.most_common())

    def samples(self) -> dict[Group, dict[str, JSON]]:
        """Return an example of each group: message, key and the two values as they are shown."""
        return {
            Group(*json.loads(name.partition(":")[2])): json.loads(text)
            for name, text in self.texts.items()
            if name.startswith("sample:")
        }

    def latency(self, what: str, runtime: str) -> Latency:
        """Return `took` or `whole` of a runtime."""
        prefix = f"{what}:{runtime}:"
        counts = {
            int(name.removeprefix(prefix)): count
            for name, count in self.counts.items()
            if name.startswith(prefix)
        }
        return Latency(counts)


def signature(groups: Iterable[Group]) -> str:
    """Return the counter's name of groups that came together."""
    return "sig:" + json.dumps(sorted(set(groups)), separators=(",", ":"), ensure_ascii=False)


def sample_name(group: Group) -> str:
    return "sample:" + json.dumps(group, separators=(",", ":"), ensure_ascii=False)


def groups_of(name: str) -> tuple[Group, ...]:
    if name == OTHER:
        return (Group("", "", "other"),)
    found: Any = json.loads(name.removeprefix("sig:"))
    return tuple(Group(*group) for group in found)
