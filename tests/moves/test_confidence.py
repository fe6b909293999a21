"""Bounds that hold however often one looks, by simulation."""

from __future__ import annotations

import pytest

from bridge.message import derived_random
from bridge.moves.confidence import ALPHA, FLAT, RARE, log_martingale, lower, samples_for, upper

RUNS, LENGTH = 250, 300


def hits(seed: int, rate: float) -> list[bool]:
    return [derived_random(f"{rate}/{seed}", n) < rate * 2**53 for n in range(LENGTH)]


@pytest.mark.parametrize(("rate", "prior"), [(0.01, RARE), (0.05, RARE), (0.05, FLAT)])
def test_who_looks_after_each_sample_is_misled_in_at_most_5_of_100_runs(
    rate: float, prior: tuple[float, float]
) -> None:
    misled = 0
    for seed in range(RUNS):
        m = 0
        for n, hit in enumerate(hits(seed, rate), 1):
            m += hit
            # What `upper` and `lower` invert: the true rate is outside the bound.
            if log_martingale(n, m, rate, prior) >= 2.9957:  # log(1 / 0.05)
                misled += 1
                break
    assert misled / RUNS <= ALPHA


def test_a_fixed_sample_interval_would_mislead_far_more_often() -> None:
    """The simulation itself can see it: a 95 % interval for one look, looked at all the time."""
    misled = 0
    for seed in range(RUNS):
        m = 0
        for n, hit in enumerate(hits(seed, 0.05), 1):
            m += hit
            spread = 1.96 * (0.05 * 0.95 / n) ** 0.5
            if n >= 20 and abs(m / n - 0.05) > spread:
                misled += 1
                break
    assert misled / RUNS > 0.2


def test_bounds_are_on_either_side_and_close_in() -> None:
    for n, m in ((10, 0), (10, 10), (500, 3), (100_000, 1_000)):
        assert lower(n, m) <= m / n <= upper(n, m)
    assert upper(0, 0) == 1.0
    assert lower(0, 0) == 0.0
    assert upper(500, 0) == pytest.approx(0.00953, abs=1e-4)
    assert 0 < lower(200, 1) < 0.005
    assert lower(10, 10) > 0.5
    assert upper(100_000, 1_000) - lower(100_000, 1_000) < 0.004


def test_the_samples_for_a_rate_are_just_enough() -> None:
    for rate in (0.05, 0.01, 0.001):
        n = samples_for(rate)
        assert upper(n, 0) <= rate < upper(n - 1, 0)
    assert samples_for(0.01) == 472
