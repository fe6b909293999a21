"""The scenarios of a subsystem, in its owner's own tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tally.tally import handle  # type: ignore[import-not-found] # written at the test

from bridge.testing import Case, scenarios

FOLDER = Path(__file__).parent / "tally"


@pytest.mark.parametrize("scenario", scenarios(FOLDER), ids=str)
def test_tally(scenario: Case) -> None:
    scenario.check(handle)
