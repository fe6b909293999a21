"""Shift the wall clock of gateway workers: put this folder on PYTHONPATH.

Each worker is off by another amount, up to `CHAOS_SKEW_MS` either way, drawn from its pid.
"""

import hashlib
import os
import sys
import time

_MOST_MS = int(os.environ.get("CHAOS_SKEW_MS", "0"))

if _MOST_MS and "bridge.gateway" in sys.orig_argv:
    _DRAWN = int.from_bytes(hashlib.sha256(str(os.getpid()).encode()).digest()[:4])
    _SKEW_NS = (_DRAWN % (2 * _MOST_MS + 1) - _MOST_MS) * 1_000_000
    _true_ns = time.time_ns

    def _time_ns() -> int:
        return _true_ns() + _SKEW_NS

    def _time() -> float:
        return _time_ns() / 1e9

    time.time_ns = _time_ns
    time.time = _time
