"""Hold the events each client received against the journal's. No I/O here."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bridge.canonical import canonical, normalise
from bridge.history.evidence import Evidence, Finding
from bridge.history.records import History, Joined, Left, Pushed
from bridge.message import JSON

Place = tuple[int, int]  # (seq of the commit, index of the effect)


@dataclass(slots=True)
class _Emitted:
    """One key's events: places in order, and by place message id and effect.

    A broken journal may have a place twice.
    """

    places: list[Place] = field(default_factory=list)
    effects: dict[Place, list[tuple[str, Mapping[str, JSON]]]] = field(default_factory=dict)


@dataclass(slots=True)
class _Reader:
    """What one client got on one topic since it last began anew."""

    joined_at: float = 0.0
    joined: bool = False
    last: Place | None = None  # on this join: events only go forward
    furthest: Place | None = None  # over joins that resumed: nothing between may be missing
    got: set[Place] = field(default_factory=set)


def check_events(history: History, evidence: Evidence, *, settled: bool) -> Iterator[Finding]:
    """Find events that no commit emitted, that came out of order, or that were passed over.

    A join that resumes may repeat events and may not skip any; other joins begin anew. With
    `settled` the recording ended when nothing moved any more: whoever is still joined has
    every event of the commits it caused itself, and every one after the first it got.
    """
    emitted, nothing = _emitted(evidence), _Emitted()
    readers: dict[tuple[str, str], _Reader] = {}
    for record in history.received:
        name = (record.client, record.key)
        reader = readers.setdefault(name, _Reader())
        match record:
            case Joined():
                if not record.resumed:
                    reader = readers[name] = _Reader(joined_at=record.at)
                reader.joined, reader.last = True, None
            case Left():
                reader.joined = False
            case Pushed():
                yield from _check_pushed(record, reader, emitted.get(record.key, nothing))
    if settled:
        for (client, key), reader in readers.items():
            if reader.joined:
                own = _own_seqs(history, evidence, client, key, reader.joined_at)
                places = emitted.get(key, nothing).places
                yield from _check_complete(client, key, reader, places, own)


def _emitted(evidence: Evidence) -> dict[str, _Emitted]:
    keys: dict[str, _Emitted] = {}
    for entry in evidence.entries:
        emitted = keys.setdefault(entry["key"], _Emitted())
        for n, effect in enumerate(entry["effects"]):
            if effect["effect"] == "emit":
                emitted.effects.setdefault((entry["seq"], n), []).append((entry["id"], effect))
    for emitted in keys.values():
        emitted.places = sorted(emitted.effects)
    return keys


def _check_pushed(event: Pushed, reader: _Reader, emitted: _Emitted) -> Iterator[Finding]:
    place = (event.seq, event.n)
    if place not in emitted.effects:
        text = f"{event.client} got {event.type} {place}, the journal does not have it"
        yield Finding("phantom", event.key, "", text)
        return
    message_id, effect = emitted.effects[place][0]
    if not any(_same(event, each) for _, each in emitted.effects[place]):
        text = f"{event.client} got {event.type} {event.payload!r}, the journal has {effect!r}"
        yield Finding("phantom", event.key, message_id, text)
    if reader.last is not None and place <= reader.last:
        text = f"{event.client} got event {place} after {reader.last}"
        yield Finding("reordered", event.key, message_id, text)
    elif reader.furthest is not None:
        n = bisect_right(emitted.places, reader.furthest)
        if n < len(emitted.places) and emitted.places[n] < place:
            text = f"{event.client} got event {place} without {emitted.places[n]} before it"
            yield Finding("lost", event.key, message_id, text)
    reader.last = place
    reader.furthest = max(place, reader.furthest or place)
    reader.got.add(place)


def _check_complete(
    client: str, key: str, reader: _Reader, places: list[Place], own: set[int]
) -> Iterator[Finding]:
    for place in places:
        after_last = reader.furthest is not None and place > reader.furthest
        if place not in reader.got and (after_last or place[0] in own):
            yield Finding("lost", key, "", f"{client} never got event {place}")


def _own_seqs(
    history: History, evidence: Evidence, client: str, key: str, since: float
) -> set[int]:
    """Return the commits of what the client first sent after it had joined."""
    return {
        entry["seq"]
        for entry in evidence.entries
        if entry["key"] == key
        and (attempts := history.asked.get(entry["id"]))
        and all(attempt.client == client for attempt in attempts)
        and min(attempt.at for attempt in attempts) > since
    }


def _same(event: Pushed, effect: Mapping[str, JSON]) -> bool:
    return event.type == effect["type"] and canonical(normalise(event.payload)) == canonical(
        normalise(effect["payload"])
    )
