"""Ways to cut a stream of bytes; what a decoder makes of it must not depend on the cut."""

from __future__ import annotations

import random
from collections.abc import Iterator


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def at_random(data: bytes, seed: int, *, largest: int = 97) -> list[bytes]:
    rng = random.Random(seed)
    pieces, position = [], 0
    while position < len(data):
        size = rng.randint(1, largest)
        pieces.append(data[position : position + size])
        position += size
    return pieces


def every_way(data: bytes, seeds: int = 5) -> Iterator[list[bytes]]:
    yield [data]
    yield bytewise(data)
    for seed in range(seeds):
        yield at_random(data, seed)
