"""What nobody speaks of has its turn."""

from __future__ import annotations

import pytest

from bridge.rotation import WITHIN_S, Rotation


@pytest.mark.parametrize("count", [0, 1, 4, 119, 121, 1000])
@pytest.mark.parametrize("every_s", [1.0, 5.0])
def test_each_has_its_turn_in_time_and_few_at_once(count: int, every_s: float) -> None:
    rotation = Rotation(list(map(str, range(count))), every_s)
    rounds = [rotation.next() for _ in range(int(WITHIN_S / every_s))]
    assert len({name for names in rounds for name in names}) == count
    assert {len(names) for names in rounds} == {-(-count * int(every_s) // int(WITHIN_S))}
