"""Buckets as flagd gives them, and shares that only grow."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.contracts.files import CONTRACTS
from bridge.moves.assignment import bucket_of, moved_keys, murmur3, to_candidate

VECTORS = CONTRACTS / "vectors" / "assignment"


def cases(name: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))[
        "cases"
    ]
    return found


@pytest.mark.parametrize("case", cases("murmur3"), ids=lambda case: repr(case["text"]))
def test_the_hash_is_murmur3(case: dict[str, object]) -> None:
    assert murmur3(str(case["text"]).encode()) == case["hash"]


@pytest.mark.parametrize(
    "case", cases("flagd"), ids=lambda case: f"{case['flag']}/{case['unit']}"
)
def test_a_bucket_is_the_one_flagd_publishes(case: dict[str, object]) -> None:
    bucket = bucket_of(str(case["flag"]), str(case["unit"]))
    assert bucket in range(int(str(case["from"])), int(str(case["to"])))


@given(st.text(max_size=20), st.text(max_size=80), st.integers(0, 100), st.integers(0, 100))
def test_a_larger_share_takes_nothing_back(subsystem: str, unit: str, a: int, b: int) -> None:
    bucket = bucket_of(subsystem, unit)
    assert 0 <= bucket < 100
    assert to_candidate(bucket, max(a, b)) or not to_candidate(bucket, min(a, b))
    assert not to_candidate(bucket, 0)
    assert to_candidate(bucket, 100)


def test_a_share_is_that_share_of_many_messages() -> None:
    buckets = [bucket_of("triage", f"message-{n}") for n in range(20_000)]
    for share in (5, 25, 50):
        got = sum(to_candidate(bucket, share) for bucket in buckets)
        assert got == pytest.approx(20_000 * share / 100, rel=0.05)


def test_5_percent_of_one_key_is_no_key() -> None:
    assert moved_keys("gateway", ["gateway"], 5) == 0
    assert moved_keys("gateway", ["gateway"], 100) == 1
