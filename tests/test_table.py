"""Rows as text."""

from __future__ import annotations

from bridge.table import WIDEST, table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(("a", "long heading"), [("wide cell", 1), ("x", None)]) == (
        "a          long heading\nwide cell  1\nx          -"
    )


def test_a_wide_cell_is_cut_unless_it_is_the_last() -> None:
    wide = "x" * (WIDEST + 1)
    assert table(("a", "b"), [(wide, wide)]).splitlines()[1] == (
        "x" * (WIDEST - 1) + "…" + "  " + wide
    )


def test_what_would_steer_a_terminal_is_shown_as_something_else() -> None:
    assert (
        table(("a",), [("\x1b[31mred\n",)]).splitlines()[1]
        == "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}"
    )
