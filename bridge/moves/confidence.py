"""How large a rate can still be after so many samples, however often one looked. No I/O here.

Confidence sequences for a Bernoulli rate by the method of mixtures (Robbins, 1970; Howard,
Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences",
2021): the likelihood ratio of a Beta mixture against the rate p,

    M_n(p) = B(a + m, b + n - m) / B(a, b) / (p^m (1 - p)^(n - m))

is a martingale with mean 1 if p is true, so by Ville's inequality it ever reaches 1/alpha with a
probability of at most alpha. A bound holds at all sample sizes at once, so looking after each
message, and stopping when one likes what one sees, fakes nothing.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf, lgamma, log

ALPHA = 0.05
# Beta mixtures: one that is tight for rare things from above, one that is fair from below.
RARE = (1.0, 100.0)
FLAT = (1.0, 1.0)
_HALVINGS = 50


def log_martingale(n: int, m: int, p: float, prior: tuple[float, float]) -> float:
    """Return log M_n(p) after `m` of `n`."""
    a, b = prior
    mixture = _beta(a + m, b + n - m) - _beta(a, b)
    likelihood = (m * log(p) if p > 0 else -inf) if m else 0.0
    if n > m:
        likelihood += (n - m) * log(1 - p) if p < 1 else -inf
    return mixture - likelihood


@lru_cache(maxsize=1024)
def upper(n: int, m: int, alpha: float = ALPHA) -> float:
    """Return what the rate is at most, with a probability of 1 - alpha for all n at once."""
    return _edge(n, m, alpha, RARE, m / n if n else 0.0, 1.0) if n else 1.0


@lru_cache(maxsize=1024)
def lower(n: int, m: int, alpha: float = ALPHA) -> float:
    """Return what the rate is at least, with a probability of 1 - alpha for all n at once."""
    return _edge(n, m, alpha, FLAT, m / n, 0.0) if m else 0.0


def samples_for(rate: float, alpha: float = ALPHA) -> int:
    """Return how many samples without a single hit show that a rate is at most `rate`."""
    high = 1
    while upper(high, 0, alpha) > rate:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if upper(middle, 0, alpha) <= rate else (middle, high)
    return high


def _edge(
    n: int, m: int, alpha: float, prior: tuple[float, float], inside: float, outside: float
) -> float:
    """Find where the martingale passes 1/alpha, between a rate inside and one outside."""
    limit = -log(alpha)
    if log_martingale(n, m, outside, prior) < limit:
        return outside
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if log_martingale(n, m, middle, prior) < limit:
            inside = middle
        else:
            outside = middle
    return outside


def _beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
