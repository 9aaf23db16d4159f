"""Pieces of a device, evenly spaced, past the page cache. Copied into a machine as one file.

``digest DEVICE``: one digest of all pieces. ``spoil DEVICE``: random bytes over every piece, so that a copy of which
nothing arrived is found. ``compress DEVICE``: what compressing costs and gains, as JSON. ``zstandard`` is needed for
the last one only.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
import time
from collections.abc import Iterator

PIECE = 1 << 20
COUNT = 48
BLOCK = 4096
_ZEROS = bytes(BLOCK)


def offsets(size: int) -> list[int]:
    """Return where the pieces begin; a device that is smaller than all of them is read from its begin on."""
    count = min(COUNT, size // PIECE)
    return [(size - PIECE) * number // max(1, count - 1) // BLOCK * BLOCK for number in range(count)]


def pieces(path: str) -> Iterator[memoryview]:
    """Yield every piece; the memory is the same each time."""
    memory = mmap.mmap(-1, PIECE)  # page-aligned, as direct reads want it
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECT", 0))
    try:
        for offset in offsets(os.lseek(descriptor, 0, os.SEEK_END)):
            if os.preadv(descriptor, [memory], offset) != PIECE:
                raise OSError(f"{path} ends within a piece")
            yield memoryview(memory)
    finally:
        os.close(descriptor)


def digest(path: str) -> str:
    """Return one digest of all pieces, in hexadecimal digits."""
    found = hashlib.sha256()
    for piece in pieces(path):
        found.update(piece)
    return found.hexdigest()


def spoil(path: str) -> None:
    """Write random bytes over every piece."""
    memory = mmap.mmap(-1, PIECE)
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_DIRECT", 0))
    try:
        for offset in offsets(os.lseek(descriptor, 0, os.SEEK_END)):
            memory[:] = os.urandom(PIECE)
            os.pwrite(descriptor, memory, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def compress(path: str) -> dict[str, float]:
    """Return bytes of all pieces, of those that are not zeros, of these compressed, and the seconds that it took."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=1)
    read = nonzero = compressed = 0
    seconds = 0.0
    for piece in pieces(path):
        blocks = [piece[at : at + BLOCK] for at in range(0, len(piece), BLOCK)]
        kept = b"".join(block for block in blocks if block != _ZEROS)
        begin = time.perf_counter()
        compressed += len(compressor.compress(kept)) if kept else 0
        seconds += time.perf_counter() - begin
        read, nonzero = read + len(piece), nonzero + len(kept)
    return {"read": read, "nonzero": nonzero, "compressed": compressed, "seconds": seconds}


if __name__ == "__main__":
    command, device = sys.argv[1:]
    if command == "spoil":
        spoil(device)
    else:
        sys.stdout.write(f"{json.dumps(compress(device)) if command == 'compress' else digest(device)}\n")
