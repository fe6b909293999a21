from __future__ import annotations

from typing import Any

import pytest

from bridge.contracts.files import CONTRACTS, read_json
from bridge.joelclaw.prompt import prompt_of

CASES = read_json(CONTRACTS / "vectors" / "delivery" / "prompts.json")["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_delivery_has_this_text(case: dict[str, Any]) -> None:
    assert prompt_of(case["type"], case["payload"], case["zone"]) == case["text"]
