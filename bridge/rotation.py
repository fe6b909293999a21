"""Many things of which nobody speaks, looked at a few at a time. No I/O here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection

WITHIN_S = 120.0  # whatever nobody told of is seen after so long


class Rotation:
    """Hand out names, some every `every_s`, so that each has its turn within two minutes."""

    def __init__(self, names: Collection[str], every_s: float) -> None:
        self._names = itertools.cycle(names)
        self._count = math.ceil(len(names) * every_s / WITHIN_S)

    def next(self) -> list[str]:
        return list(itertools.islice(self._names, self._count))
