"""What the summary of `bridge observe` says of a gap."""

from __future__ import annotations

import pytest

from bridge.cli.observed import summary
from bridge.observe.observer import Observer
from bridge.redis.address import Address
from bridge.telemetry import Telemetry


@pytest.mark.parametrize(("ms", "said"), [(184, "184 ms"), (1_900, "1s"), (62_000, "1m2s")])
def test_a_gap_below_a_second_is_not_told_as_none(ms: int, said: str) -> None:
    observer = Observer(Address.parse("redis://127.0.0.1:6379"), Telemetry())
    observer.progress.gaps.append({"from_ms": 0, "until_ms": ms, "why": "Redis went away"})
    assert f"nothing was seen for {said} from " in summary(observer, "redis")
