"""What was observed, for people: the table that grows, and the summary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from bridge.observe.fate import CAUSES, FATES
from bridge.observe.observer import Observer
from bridge.observe.tally import Kind, Tally
from bridge.table import table

ALWAYS = ("prompt", "batched", "suppressed", "lost")  # columns that are there even if empty


def counts(tally: Tally, most_rows: int | None = None) -> str:
    """Return a table of types and fates, of the types that lost most if they are too many."""
    *rows, total = tally.rows()
    left = 0
    if most_rows is not None and len(rows) > most_rows:
        left = len(rows) - max(1, most_rows - 1)
        rows = rows[:-left]
    columns = [name for name in FATES if name in ALWAYS or tally.fates[name]]
    undecided = tally.events - tally.fates.total()
    head = ["type", "events", *columns, *(["in flight"] if undecided else [])]
    cells = [_cells(row, columns, undecided) for row in rows]
    if left:
        cells.append([f"… {left} more", *[""] * (len(head) - 1)])
    return table(head, [*cells, _cells(total, columns, undecided)])


def line(observer: Observer) -> str:
    """Return the counts in one line."""
    tally, progress = observer.tally, observer.progress
    fates = (f"{name} {count:,}" for name in FATES if (count := tally.fates[name]))
    away = "" if progress.connected else "not connected"
    parts = [_clock(progress.now_ms), f"events {tally.events:,}", *fates, away]
    return "  ".join(filter(None, parts))


def counts_now(observer: Observer) -> dict[str, Any]:
    """Return the counts as JSON, for a line of them."""
    tally, progress = observer.tally, observer.progress
    return {
        "at_ms": progress.now_ms,
        "events": tally.events,
        "fates": dict(tally.fates),
        "commands_per_second": progress.per_second,
        "connected": progress.connected,
    }


def headline(observer: Observer, where: str, until: str) -> str:
    progress = observer.progress
    took = duration((progress.now_ms - progress.from_ms) / 1000)
    rate = f"{progress.per_second:,} commands a second" if progress.connected else "not connected"
    return f"observing {where} for {took}{until}: {rate}, {observer.tally.events:,} events"


def summary(observer: Observer, where: str) -> str:
    """Return all that was observed."""
    tally, progress = observer.tally, observer.progress
    took = duration((progress.now_ms - progress.from_ms) / 1000)
    head = (
        f"{where} for {took}: {tally.events:,} events in {progress.commands:,} commands"
        f"{_known(tally)}"
    )
    parts = [head, counts(tally)]
    parts += [_lost(cause, tally.lost[cause]) for cause in CAUSES if cause in tally.lost]
    if tally.faults:
        rows = ((k.count, fault, _fates(k.fates), _name(k)) for fault, k in tally.faults.items())
        parts.append(table(("count", "off the contract", "became", "for example"), rows))
    gaps = "\n".join(map(_gap, progress.gaps))
    return "\n\n".join([*parts, *filter(None, [gaps])])


def duration(seconds: float) -> str:
    """Return a time span as `1h2m3s`."""
    left = int(seconds)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _known(tally: Tally) -> str:
    told = [
        f"{tally.found} were there before" if tally.found else "",
        f"{tally.returned} were given back by the bridge" if tally.returned else "",
    ]
    return "".join(f", {text}" for text in told if text)


def _cells(row: Mapping[str, Any], columns: Iterable[str], undecided: int) -> list[object]:
    numbers = [row.get(name, 0) for name in columns]
    events = row.get("events", 0)
    return [row["type"], events, *numbers, *([events - sum(numbers)] if undecided else [])]


def _lost(cause: str, kind: Kind) -> str:
    examples = (f"  {_named(example)} {example['why']}" for example in kind.examples)
    return "\n".join([f"{kind.count:,} lost: {CAUSES[cause]}", *examples])


def _name(kind: Kind) -> str:
    return _named(kind.examples[0])


def _named(example: Mapping[str, Any]) -> str:
    kind = example["type"]
    return f"{example['id'] or '(no id)'} {kind if kind.startswith('(') else f'({kind})'}"


def _fates(fates: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in fates.items())


def _gap(gap: Mapping[str, Any]) -> str:
    ms, at = gap["until_ms"] - gap["from_ms"], _clock(gap["from_ms"])
    took = f"{ms} ms" if ms < 1_000 else duration(ms / 1000)
    return f"inconclusive: nothing was seen for {took} from {at}: {gap['why']}"


def _clock(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%H:%M:%S}"
