"""Random writes at a steady rate, for a bounded time. Standard library only; copied into a machine as one file.

``fill PATH SIZE`` writes every block of the file once. ``write PATH RATE SECONDS`` overwrites places in it until the
time is over or nobody holds its stdin any more, and prints how many bytes it wrote and in how many seconds. Sizes are
4 to 64 KiB, places random; half of each write compresses.
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
POOL = 4 << 20
"""Random bytes that writes take pieces of: to make new ones for each would cost the machine as much as writing them."""


def fill(path: str, size: int) -> None:
    """Write every block once, so that later writes change nothing but the blocks that they are for."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_DIRECT", 0), 0o600)
    buffer, pool = mmap.mmap(-1, BLOCK * MOST_BLOCKS), memoryview(os.urandom(POOL))
    for position in range(0, size, len(buffer)):
        _renew(buffer, pool, len(buffer))
        os.pwrite(descriptor, memoryview(buffer)[: size - position], position)
    os.fsync(descriptor)
    os.close(descriptor)


def scribble(path: str, bytes_per_second: float, seconds: float, stop: threading.Event) -> tuple[int, float]:
    """Overwrite until the time is over or ``stop`` is set; return bytes and seconds. The file has to be filled."""
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_DIRECT", 0))
    size = os.fstat(descriptor).st_size
    buffer, pool = mmap.mmap(-1, BLOCK * MOST_BLOCKS), memoryview(os.urandom(POOL))
    begin, written = time.monotonic(), 0
    while time.monotonic() < begin + seconds and not stop.is_set():
        length = BLOCK * random.randint(1, MOST_BLOCKS)  # noqa: S311 - places and sizes, no secrets
        position = BLOCK * random.randrange((size - length) // BLOCK + 1)  # noqa: S311
        _renew(buffer, pool, length)
        os.pwrite(descriptor, memoryview(buffer)[:length], position)
        written += length
        stop.wait(max(0.0, begin + written / bytes_per_second - time.monotonic()))
    os.close(descriptor)
    return written, time.monotonic() - begin


def _renew(buffer: mmap.mmap, pool: memoryview, length: int) -> None:
    at = random.randrange(len(pool) - length // 2)  # noqa: S311
    buffer[: length // 2] = pool[at : at + length // 2]


def _set_at_end_of_input(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def main(words: list[str]) -> None:
    """Do what the module says."""
    if words[0] == "fill":
        fill(words[1], int(words[2]))
        return
    stop = threading.Event()
    threading.Thread(target=_set_at_end_of_input, args=(stop,), daemon=True).start()
    written, seconds = scribble(words[1], float(words[2]), float(words[3]), stop)
    sys.stdout.write(f"{written} {seconds}\n")
    sys.stdout.flush()
    os._exit(0)  # the thread that reads stdin would hold up an orderly end


if __name__ == "__main__":
    main(sys.argv[1:])
