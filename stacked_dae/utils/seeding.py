"""Randomness has an address: every generator is seeded from what it is for.

A generator that is seeded from (run seed, stage, epoch) needs no saved state, so a resumed run draws
exactly what an undisturbed one would have drawn.
"""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *address: str | int) -> int:
    """Return the 63-bit seed of the generator at ``address``, such as ``"layer_1", 7, "shuffle"``, of run ``seed``."""
    text = "/".join(map(str, (seed, *address)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
