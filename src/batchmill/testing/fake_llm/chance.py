"""Chance without state: what happens to a request depends on the seed, the request and how often it came, nothing
else; so a run has the same faults in whatever order its requests arrive."""

from __future__ import annotations

from hashlib import blake2b

_MASK = (1 << 64) - 1
LATENCY, FAULT, LASTING, CONTENT = range(4)


def digest(seed: int, data: bytes) -> int:
    """64 bits of BLAKE2b, keyed by the seed."""
    key = (seed & _MASK).to_bytes(8, "little")
    return int.from_bytes(blake2b(data, digest_size=8, key=key).digest(), "little")


def uniform(number: int, purpose: int, nth: int = 0) -> float:
    """A number in [0, 1) for one purpose and the nth time (SplitMix64, Steele et al. 2014)."""
    z = (number + (purpose * 0x10001 + nth + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)
