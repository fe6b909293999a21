"""Hold the events each client received against the journal's. No I/O here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bridge.canonical import canonical, normalise
from bridge.history.evidence import Entry, Evidence, Finding
from bridge.history.records import History, Joined, Left, Pushed

Place = tuple[int, int]  # (seq of the commit, index of the effect)


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
    entries = {(entry["key"], entry["seq"]): entry for entry in evidence.entries}
    places = {
        key: [(entry["seq"], n) for entry in own for n, effect in enumerate(entry["effects"])
              if effect["effect"] == "emit"]
        for key, own in evidence.by_key().items()
    }  # fmt: skip
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
                yield from _check_pushed(record, reader, entries, places.get(record.key, []))
    if settled:
        for (client, key), reader in readers.items():
            if reader.joined:
                own = _own_seqs(history, evidence, client, key, reader.joined_at)
                yield from _check_complete(client, key, reader, places.get(key, []), own)


def _check_pushed(
    event: Pushed,
    reader: _Reader,
    entries: dict[tuple[str, int], Entry],
    places: list[Place],
) -> Iterator[Finding]:
    place = (event.seq, event.n)
    entry = entries.get((event.key, event.seq))
    if entry is None or place not in places:
        text = f"{event.client} got {event.type} {place}, the journal does not have it"
        yield Finding("phantom", event.key, "", text)
        return
    effect = entry["effects"][event.n]
    if event.type != effect["type"] or _bytes(event.payload) != _bytes(effect["payload"]):
        text = f"{event.client} got {event.type} {event.payload!r}, the journal has {effect!r}"
        yield Finding("phantom", event.key, entry["id"], text)
    if reader.last is not None and place <= reader.last:
        text = f"{event.client} got event {place} after {reader.last}"
        yield Finding("reordered", event.key, entry["id"], text)
    elif reader.furthest is not None:
        missed = [p for p in places if reader.furthest < p < place and p not in reader.got]
        if missed:
            text = f"{event.client} got event {place} without {missed[0]} before it"
            yield Finding("lost", event.key, entry["id"], text)
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


def _bytes(value: object) -> bytes:
    return canonical(normalise(value))
