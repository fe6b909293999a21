"""Pauses between attempts that fail: each about twice the one before, up to a longest."""

from __future__ import annotations

import random


class Backoff:
    """Count the failures in a row; `pause_s` is how long to wait after the last one.

    A pause is between half and the whole of its length, by chance, so that not all who wait come
    back at once.
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self.failures = 0

    def failed(self) -> float:
        """Count a failure; return the pause until the next attempt."""
        self.failures += 1
        longest_s = self._first_s * 2.0 ** min(self.failures - 1, 30)
        return min(longest_s, self._longest_s) * random.uniform(0.5, 1)

    def over(self) -> None:
        self.failures = 0
