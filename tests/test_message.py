from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.contracts.files import CONTRACTS
from bridge.message import context_for, derived_id, derived_random
from tests.vectors import determinism

NEW_YEAR_MS = 1767225600000


@pytest.mark.parametrize("case", determinism("derived_id"), ids=lambda case: case["id"])
def test_the_vectors_ids_are_derived(case: Any) -> None:
    assert derived_id(case["message_id"], case["name"]) == case["id"]


@pytest.mark.parametrize("case", determinism("derived_random"), ids=repr)
def test_the_vectors_random_numbers_are_derived(case: Any) -> None:
    assert derived_random(case["seed"], case["n"]) == case["random"]


def test_the_vectors_seeds_come_from_the_message_ids() -> None:
    file = CONTRACTS / "vectors/determinism/derived_random.json"
    for case in json.loads(file.read_text(encoding="utf-8"))["seeds"]:
        assert context_for(case["message_id"], 0, 0, "UTC", "k").seed == case["seed"]


@given(st.text(st.characters(codec="utf-8")), st.integers(0, 2**53 - 1))
def test_a_derived_id_is_a_uuid_of_version_8(message_id: str, n: int) -> None:
    made = uuid.UUID(derived_id(message_id, n))
    assert made.version == 8
    assert made.variant == uuid.RFC_4122


@given(st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(0, 2**53 - 1))
def test_a_derived_random_number_is_a_safe_integer(seed: str, n: int) -> None:
    assert 0 <= derived_random(seed, n) <= 2**53 - 1


@pytest.mark.parametrize(
    ("zone", "local"),
    [
        ("UTC", {"date": "2026-01-01", "time": "00:00:00", "zone": "UTC"}),
        ("Asia/Kolkata", {"date": "2026-01-01", "time": "05:30:00", "zone": "Asia/Kolkata"}),
        (
            "America/Los_Angeles",
            {"date": "2025-12-31", "time": "16:00:00", "zone": "America/Los_Angeles"},
        ),
    ],
)
def test_local_date_and_time_are_those_of_the_zone(zone: str, local: dict[str, str]) -> None:
    assert context_for("m", NEW_YEAR_MS + 999, NEW_YEAR_MS + 5999, zone, "k").local == local


def test_the_seed_depends_on_the_message_alone() -> None:
    first = context_for("m", 1, 2, "UTC", "a")
    again = context_for("m", 3, 4, "Asia/Kolkata", "b")
    other = context_for("n", 1, 2, "UTC", "a")
    assert first.seed == again.seed != other.seed


def test_a_context_as_json_has_the_members_handlers_are_promised() -> None:
    assert context_for("m", 0, 5000, "UTC", "some key").as_json() == {
        "message_id": "m",
        "key": "some key",
        "now_ms": 0,
        "local": {"date": "1970-01-01", "time": "00:00:00", "zone": "UTC"},
        "seed": "5c74ac17ff4ce2ffa5466315f0e84836105c2a78c6314f65b9bd1b491a13bc01",
        "deadline_ms": 5000,
    }
