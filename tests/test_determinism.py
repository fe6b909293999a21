"""The rules of sameness that handlers keep by themselves: the idioms of contracts/README.md."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vectors import determinism


@pytest.mark.parametrize("case", determinism("trim"), ids=repr)
def test_trimming_takes_ascii_white_space_only(case: Any) -> None:
    assert case["text"].strip("\t\n\v\f\r ") == case["trimmed"]


@pytest.mark.parametrize("case", determinism("divide"), ids=repr)
def test_division_truncates_towards_zero(case: Any) -> None:
    dividend, divisor = case["dividend"], case["divisor"]
    quotient = abs(dividend) // abs(divisor) * (1 if (dividend < 0) == (divisor < 0) else -1)
    assert quotient == case["quotient"]
    assert dividend - quotient * divisor == case["remainder"]


@pytest.mark.parametrize("case", determinism("sort"), ids=repr)
def test_texts_sort_by_code_point(case: Any) -> None:
    assert sorted(case["texts"]) == case["sorted"]
    assert sorted(case["texts"], key=str.encode) == case["sorted"]


@pytest.mark.parametrize("case", determinism("cut"), ids=repr)
def test_text_is_counted_and_cut_by_code_point(case: Any) -> None:
    assert len(case["text"]) == case["length"]
    assert case["text"][: case["at"]] == case["cut"]
