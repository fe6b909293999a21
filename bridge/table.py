"""Rows as aligned plain text, for people. No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

WIDEST = 60  # a cell beyond this is cut, unless it is the last of its row


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    paint: Callable[[str], str] = str,
) -> str:
    """Return the rows under their head, columns two blanks apart, without trailing blanks.

    `paint` adds to a cell what takes no room, as colours do.
    """
    cells = [list(head), *([_cell(value) for value in row] for row in rows)]
    last = len(head) - 1
    cells = [[c if n == last else _cut(c) for n, c in enumerate(row)] for row in cells]
    widths = [max(len(row[n]) for row in cells) for n in range(len(head))]
    return "\n".join(
        "  ".join(
            paint(cell) + " " * (width - len(cell))
            for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in cells
    )


def _cell(value: object) -> str:
    text = "-" if value is None or value == "" else str(value)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
