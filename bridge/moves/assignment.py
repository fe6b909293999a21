"""Which runtime gets a message during a canary: a bucket of 0 to 99. No I/O here.

MurmurHash3 x86 32-bit with seed 0 over the UTF-8 bytes of subsystem and unit, scaled to 100 by
multiplication, as flagd's `fractional` does with `[[candidate, n], [owner, 100 - n]]` (flagd,
core/pkg/evaluator/fractional.go: `(hash * totalWeight) >> 32`, bucketed by flag key and targeting
key). The unit is the message's id, or its key where the contract says `assign: key`.
"""

from __future__ import annotations

from collections.abc import Iterable

BUCKETS = 100
_MASK = 0xFFFFFFFF


def murmur3(data: bytes, seed: int = 0) -> int:
    """Return MurmurHash3 x86 32-bit of some bytes (Appleby, MurmurHash3.cpp)."""
    h = seed
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * 0xCC9E2D51 & _MASK
        k = (k << 15 | k >> 17) * 0x1B873593 & _MASK
        h ^= k
        h = ((h << 13 | h >> 19) & _MASK) * 5 + 0xE6546B64 & _MASK
    if len(data) > whole:
        k = int.from_bytes(data[whole:], "little") * 0xCC9E2D51 & _MASK
        h ^= (k << 15 | k >> 17) * 0x1B873593 & _MASK
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & _MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & _MASK
    return h ^ h >> 16


def bucket_of(subsystem: str, unit: str) -> int:
    """Return the bucket, 0 to 99, of a message id or a key."""
    return murmur3((subsystem + unit).encode()) * BUCKETS >> 32


def to_candidate(bucket: int, share: int) -> bool:
    """Say whether a bucket is the candidate's at a share of 0 to 100 percent.

    Monotone: what a share gives to the candidate, every larger share gives to it too.
    """
    return bucket < share


def moved_keys(subsystem: str, keys: Iterable[str], share: int) -> int:
    """Count the keys that a share gives to the candidate."""
    return sum(to_candidate(bucket_of(subsystem, key), share) for key in keys)
