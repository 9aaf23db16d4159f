"""Fill a file: a third zeros, a third that compresses about 2.5:1, a third random. Copied into a machine as one file.

Standard library only. The compressible third has 3 random bits in each byte, so that it is neither repetitions nor
zeros: what a fast compressor gains on it is what it gains on text.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CHUNK = 1 << 20
_LETTERS = bytes(b"etaoinsr"[value % 8] for value in range(256))


def fill(path: Path, size: int) -> None:
    """Write ``size`` bytes in three thirds and have them on the disk."""
    third = size // 3
    with path.open("wb") as file:
        for position in range(0, size, CHUNK):
            length = min(CHUNK, size - position)
            if position < third:
                file.write(bytes(length))
            elif position < 2 * third:
                file.write(os.urandom(length).translate(_LETTERS))
            else:
                file.write(os.urandom(length))
        file.flush()
        os.fsync(file.fileno())
    os.sync()


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]))
