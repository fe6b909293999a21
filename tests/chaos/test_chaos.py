"""Nothing is lost or repeated while everything is killed, stopped, cut and moved."""

from __future__ import annotations

import asyncio
import os
import secrets

import pytest

from tests.chaos.run import run

SECONDS = float(os.environ.get("CHAOS_SECONDS", "30"))
SEED = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(2**32))


@pytest.mark.slow
def test_nothing_is_lost_or_repeated_under_chaos() -> None:
    print(f"CHAOS_SEED={SEED}")
    report = asyncio.run(run(SECONDS, SEED, skew_ms=2000))
    print(report)
    assert (report.findings, report.unsettled, report.leftovers) == ([], [], {}), report.logs
