"""Counts of what was observed: by type, by fate, what was lost and why. No I/O here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bridge.observe.fate import CAUSES, Pushed, Record, Returned, Settled
from bridge.observe.readers import Latest

MAX_TYPES = 200
MAX_FAULTS = 50
MAX_EXAMPLES = 3
MAX_OPEN = 10_000  # items off the contract whose fate is not known yet
OTHERS = "(other types)"


@dataclass(slots=True)
class Kind:
    """How often something happened, with examples of the first times."""

    count: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)
    fates: Counter[str] = field(default_factory=Counter)

    def add(self, example: dict[str, Any]) -> None:
        self.count += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(example)


class Tally:
    """Add records; it stays small however many there are."""

    def __init__(self) -> None:
        self.events = 0
        self.found = 0  # of them in their list before anything was seen
        self.returned = 0
        self.fates: Counter[str] = Counter()
        self.types: dict[str, Counter[str]] = {}  # by type: fates, and `events`
        self.lost: dict[str, Kind] = {}  # by cause
        self.faults: dict[str, Kind] = {}  # by what the contract has against it
        self._faulty = Latest(MAX_OPEN)  # n: fault

    def add(self, record: Record) -> None:
        match record:
            case Pushed():
                self._came(record)
            case Settled():
                self._settled(record)
            case Returned():
                self.returned += 1
                self.fates["bridge"] -= 1
                self._type(record.type)["bridge"] -= 1

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each type, those that lost most first, and one for all of them."""
        order = sorted(self.types, key=lambda name: (-self.types[name]["lost"], name))
        rows = [{"type": name, **_some(self.types[name])} for name in order]
        return [*rows, {"type": "all", "events": self.events, **_some(self.fates)}]

    def as_json(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "found": self.found,
            "returned": self.returned,
            "fates": _some(self.fates),
            "types": {name: _some(counts) for name, counts in sorted(self.types.items())},
            "lost": {
                cause: {
                    "count": kind.count,
                    "meaning": CAUSES[cause],
                    "examples": kind.examples,
                }
                for cause, kind in self.lost.items()
            },
            "off_contract": {
                fault: {
                    "count": kind.count,
                    "fates": _some(kind.fates),
                    "examples": kind.examples,
                }
                for fault, kind in self.faults.items()
            },
        }

    def _came(self, record: Pushed) -> None:
        self.events += 1
        self.found += record.found
        self._type(record.look.type)["events"] += 1
        if record.fault:
            name = _capped(record.fault, self.faults, MAX_FAULTS, "(other faults)")
            self.faults.setdefault(name, Kind()).add(
                {"id": record.look.id, "type": record.look.type, "at_ms": record.at_ms}
            )
            self._faulty[record.n] = name

    def _settled(self, record: Settled) -> None:
        self.fates[record.fate] += 1
        self._type(record.type)[record.fate] += 1
        if record.fate == "lost":
            self.lost.setdefault(record.cause, Kind()).add(
                {
                    "id": record.id,
                    "type": record.type,
                    "session": record.session,
                    "at_ms": record.at_ms,
                    "why": record.why,
                }
            )
        if fault := self._faulty.pop(record.n, None):
            self.faults[fault].fates[record.fate] += 1

    def _type(self, name: str) -> Counter[str]:
        return self.types.setdefault(_capped(name, self.types, MAX_TYPES, OTHERS), Counter())


def _capped(name: str, known: dict[str, Any], most: int, rest: str) -> str:
    return name if name in known or len(known) < most else rest


def _some(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
