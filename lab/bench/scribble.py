"""Random writes at a steady rate, for a bounded time. Standard library only; copied into a machine as one file.

Sizes are 4 to 64 KiB, places random in a file that is filled once before; half of each write compresses.
"""

from __future__ import annotations

import mmap
import os
import random
import sys
import threading
import time

BLOCK = 4096
MOST_BLOCKS = 16


def scribble(path: str, size: int, bytes_per_second: float, seconds: float) -> int:
    """Write, and return how many bytes it were."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_DIRECT", 0), 0o600)
    buffer = mmap.mmap(-1, BLOCK * MOST_BLOCKS)
    for position in range(0, size, len(buffer)):
        buffer[:] = os.urandom(len(buffer) // 2) + bytes(len(buffer) // 2)
        os.pwrite(descriptor, buffer, position)
    pause, begin, written = threading.Event(), time.monotonic(), 0
    while time.monotonic() < begin + seconds:
        length = BLOCK * random.randint(1, MOST_BLOCKS)  # noqa: S311 - places and sizes, no secrets
        position = BLOCK * random.randrange((size - length) // BLOCK)  # noqa: S311
        buffer[: length // 2] = os.urandom(length // 2)
        os.pwrite(descriptor, memoryview(buffer)[:length], position)
        written += length
        pause.wait(max(0.0, begin + written / bytes_per_second - time.monotonic()))
    os.close(descriptor)
    return written


if __name__ == "__main__":
    sys.stdout.write(f"{scribble(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))}\n")
