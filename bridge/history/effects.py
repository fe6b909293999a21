"""Hold executed effects and timers against the journal's effects. No I/O here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.canonical import canonical, normalise
from bridge.history.evidence import Entry, Evidence, Finding
from bridge.journal.records import timer_body
from bridge.message import JSON, derived_id


@dataclass(frozen=True, slots=True)
class _Expected:
    key: str
    seq: int
    n: int
    message_id: str
    effect: Mapping[str, JSON]

    @property
    def id(self) -> str:
        """Return the effect's id, in the outbox and as what set a timer."""
        return f"{self.message_id}/{self.n}"

    @property
    def place(self) -> tuple[int, int]:
        return self.seq, self.n


def identity(kind: str, message_id: str, n: int, effect: Mapping[str, JSON]) -> str:
    """Return the id by which a kind's receiver knows an effect: an Inngest event has its own."""
    return str(effect["id"]) if kind == "inngest" else f"{message_id}/{n}"


def check_executed(
    evidence: Evidence,
    kind: str,
    executed: Sequence[Mapping[str, Any]],
    *,
    exactly_once: bool = False,
) -> Iterator[Finding]:
    """Hold what a kind's receiver got, in its order, against the journal.

    Each item carries `id` (see `identity`); of an Inngest event `name` and `data` are compared.
    Repeats of an id are found only with `exactly_once`: else the receiver drops them by it.
    """
    expected: dict[str, list[_Expected]] = {}
    for item in _expected(evidence, kind):
        name = identity(kind, item.message_id, item.n, item.effect)
        expected.setdefault(name, []).append(item)
    counts = Counter(str(body["id"]) for body in executed)
    waiting = {entry.id for entry in evidence.outbox} | {dead.id for dead in evidence.dead}
    for name, items in expected.items():
        for item in items:
            if name not in counts and item.id not in waiting:
                text = f"{kind} effect {item.n} was neither executed, waiting nor dead"
                yield Finding("lost", item.key, item.message_id, text)
        if exactly_once and counts[name] > len(items):
            text = f"{kind} effect {name} was executed {counts[name]} times"
            yield Finding("repeated", items[0].key, items[0].message_id, text)
    yield from _check_bodies(kind, executed, expected)


def _check_bodies(
    kind: str, executed: Sequence[Mapping[str, Any]], expected: Mapping[str, list[_Expected]]
) -> Iterator[Finding]:
    seen: set[str] = set()
    latest: dict[str, tuple[int, int]] = {}
    for body in executed:
        items = expected.get(str(body["id"]))
        if items is None:
            text = f"{kind} {body['id']} was executed, no entry of the journal has it"
            yield Finding("phantom", "", "", text)
            continue
        item = items[0]
        if kind == "inngest" and not any(_same_event(body, each.effect) for each in items):
            text = f"{kind} {body['id']} was executed with another name or data"
            yield Finding("phantom", item.key, item.message_id, text)
        if str(body["id"]) in seen or item.effect.get("unordered"):
            continue
        seen.add(str(body["id"]))
        if item.place < latest.get(item.key, (0, 0)):
            text = f"{kind} effect {item.place} was executed after {latest[item.key]}"
            yield Finding("reordered", item.key, item.message_id, text)
        latest[item.key] = max(item.place, latest.get(item.key, (0, 0)))


def check_timers(evidence: Evidence) -> Iterator[Finding]:
    """Walk the journal as the timers did: set, replaced, cancelled, fired, waiting or dead."""
    standing: dict[tuple[str, str], _Expected] = {}
    for entry in evidence.entries:
        key = entry["key"]
        if entry.get("timer"):
            yield from _check_fired(entry, standing.pop((key, entry["timer"]), None))
        for n, effect in enumerate(entry["effects"]):
            if effect["effect"] in ("schedule", "call"):
                set_by = f"{entry['id']}/{n}"
                timer = timer_body(set_by, effect, entry["at_ms"])
                timer |= {"effect": effect["effect"], "at_ms": timer["due_ms"]}
                expected = _Expected(key, entry["seq"], n, entry["id"], timer)
                standing[key, timer["id"]] = expected
            elif effect["effect"] == "cancel":
                standing.pop((key, effect["id"]), None)
    waiting = {(timer.key, timer.id): timer for timer in evidence.timers}
    dead = {
        (dead.key, str(dead.body.get("id", ""))) for dead in evidence.dead if dead.what == "timer"
    }
    for (key, name), setting in standing.items():
        there, effect = waiting.pop((key, name), None), setting.effect
        if there is None:
            if (key, name) not in dead:
                text = f"timer {name} neither fired, waits, was cancelled nor is dead"
                yield Finding("lost", key, setting.message_id, text)
        elif (there.operation, there.due_ms) != (effect["operation"], effect["at_ms"]):
            text = (
                f"timer {name} waits for {there.operation} at {there.due_ms}, not as it was set"
            )
            yield Finding("wrong_state", key, setting.message_id, text)
    for key, name in waiting:
        yield Finding("phantom", key, "", f"timer {name} waits, the journal does not set it")


def _check_fired(entry: Entry, setting: _Expected | None) -> Iterator[Finding]:
    name, key = entry["timer"], entry["key"]
    if setting is None:
        text = f"timer {name} fired, though it was not set, was cancelled or had fired"
        yield Finding("phantom", key, entry["id"], text)
        return
    effect = setting.effect
    if entry["id"] != derived_id(setting.id, f"timer/{name}"):
        text = f"timer {name} fired with an id that does not derive from {setting.id}"
        yield Finding("phantom", key, entry["id"], text)
    if effect["effect"] == "call" and _answers(effect, entry):
        return  # what came of it is nowhere else: the contract has judged it
    asked = [effect["operation"], effect["request"]]
    if not _same(asked, [entry["operation"], entry["request"]]):
        text = f"timer {name} was set for {effect['operation']} {effect['request']!r}"
        yield Finding("phantom", key, entry["id"], text)
    if entry["at_ms"] < effect["at_ms"]:
        text = f"timer {name} fired at {entry['at_ms']}, before it was due at {effect['at_ms']}"
        yield Finding("reordered", key, entry["id"], text)


def _answers(setting: Mapping[str, JSON], entry: Entry) -> bool:
    """Say whether a message tells what came of a call, in time."""
    asked, request = setting["request"], entry["request"]
    same = setting["operation"] == entry["operation"] and request.get("id") == asked["id"]
    return same and not _same(request, asked)


def _expected(evidence: Evidence, kind: str) -> Iterator[_Expected]:
    for entry in evidence.entries:
        for n, effect in enumerate(entry["effects"]):
            if effect["effect"] == kind:
                yield _Expected(entry["key"], entry["seq"], n, entry["id"], effect)


def _same_event(body: Mapping[str, Any], effect: Mapping[str, JSON]) -> bool:
    return body["name"] == effect["name"] and _same(body["data"], effect["data"])


def _same(one: JSON, other: JSON) -> bool:
    return canonical(normalise(one)) == canonical(normalise(other))
