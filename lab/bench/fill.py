"""Fill a file with one of the data sets. Standard library only; copied into a machine as one file.

``random``: nothing compresses. ``half``: one MiB of two compresses, about 2.5:1. ``zeros``: two MiB of three are zeros,
the third is random. What compresses has 3 random bits in each byte, so that it is neither repetitions nor zeros: what a
fast compressor gains on it is what it gains on text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path

CHUNK = 1 << 20
_LETTERS = bytes(b"etaoinsr"[value % 8] for value in range(256))


def text_like(length: int) -> bytes:
    """Return bytes that compress about 2.5:1."""
    return os.urandom(length).translate(_LETTERS)


SETS: Mapping[str, tuple[Callable[[int], bytes], ...]] = {
    "random": (os.urandom,),
    "half": (text_like, os.urandom),
    "zeros": (bytes, bytes, os.urandom),
}
"""What the chunks of a data set are, over and over."""


def fill(path: Path, size: int, data: str) -> None:
    """Write ``size`` bytes of a data set and have them on the disk."""
    makers = cycle(SETS[data])
    with path.open("wb") as file:
        for position in range(0, size, CHUNK):
            file.write(next(makers)(min(CHUNK, size - position)))
        file.flush()
        os.fsync(file.fileno())
    os.sync()


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
