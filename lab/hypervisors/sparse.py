"""Copies and digests of files with holes: what reads as zeros is neither written nor digested."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

BLOCK = 64 << 10
READ_BYTES = 4 << 20
_ZEROS = bytes(BLOCK)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file of any kind with a size; ``target`` is new, mode 0600, and has a hole wherever there are zeros."""
    reader = os.open(source, os.O_RDONLY)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            for offset, block in _blocks(reader):
                os.pwrite(writer, block, offset)
            os.ftruncate(writer, os.fstat(reader).st_size)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's size and of every block that is not zero with its place.

    Two files of the same content have the same one, wherever their holes are.
    """
    digest = hashlib.sha256()
    reader = os.open(path, os.O_RDONLY)
    try:
        digest.update(os.fstat(reader).st_size.to_bytes(8, "big"))
        for offset, block in _blocks(reader):
            digest.update(offset.to_bytes(8, "big"))
            digest.update(block)
    finally:
        os.close(reader)
    return digest.hexdigest()


def _blocks(reader: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of every block that is not all zeros."""
    for begin, end in _data(reader):
        position = begin
        while position < end:
            piece = os.pread(reader, min(READ_BYTES, end - position), position)
            if not piece:
                break
            for start in range(0, len(piece), BLOCK):
                block = piece[start : start + BLOCK]
                if block != _ZEROS[: len(block)]:
                    yield position + start, block
            position += len(piece)


def _data(reader: int) -> Iterator[tuple[int, int]]:
    """Yield where a file is no hole; begins are rounded down to blocks and never overlap."""
    done, size = 0, os.fstat(reader).st_size
    while done < size:
        try:
            begin = os.lseek(reader, done, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(reader, begin, os.SEEK_HOLE)
        # Whole blocks, so that the digest does not depend on where holes begin.
        last = min(-(-end // BLOCK) * BLOCK, size)
        yield max(done, begin - begin % BLOCK), last
        done = last
