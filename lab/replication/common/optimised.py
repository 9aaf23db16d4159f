"""A document on its way out: compressed frame by frame while it is sent (seed L49)."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from lab.replication.changeset import Buffer, end_frame, head_frame
from lab.replication.common.compression import Zstd
from lab.replication.document import DocumentReader

PIECE_BYTES = 256 << 10
"""A chunk for each small frame would cost more than what is in it."""


class Pieces(io.RawIOBase):
    """A body that is produced while it is read: the library reads blocks of its own size, without a copy for each."""

    def __init__(self, pieces: Iterator[Buffer]) -> None:
        self._pieces = pieces
        self._waiting = bytearray()

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return ``size`` bytes, fewer only at the end."""
        while size < 0 or len(self._waiting) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._waiting += piece
        end = len(self._waiting) if size < 0 else size
        taken = bytes(memoryview(self._waiting)[:end])
        del self._waiting[:end]
        return taken


class Optimised:
    """A document on its way out: compressed frame by frame while it is sent, and measured.

    ``opened`` opens it at its beginning, for every attempt anew.
    """

    def __init__(self, opened: Callable[[], BinaryIO]) -> None:
        self._opened = opened
        self.raw_bytes = 0
        self.wire_bytes = 0
        self.optimised_ns = 0

    def parts(self) -> Iterator[Buffer]:
        """Yield the document's bytes in large pieces; every call begins again."""
        waiting = bytearray()
        for piece in self._pieces():
            waiting += piece
            if len(waiting) >= PIECE_BYTES:
                yield waiting
                waiting = bytearray()
        if waiting:
            yield waiting

    def _pieces(self) -> Iterator[Buffer]:
        self.wire_bytes = 0
        codec = Zstd()
        with self._opened() as source:
            reader = DocumentReader(source)
            yield from self._counted(head_frame(reader.head).header(), head_frame(reader.head).stored)
            for frame in reader.frames():
                smaller = frame.compressed(codec)
                yield from self._counted(smaller.header(), smaller.stored)
            self.raw_bytes = reader.raw_bytes
            self.optimised_ns = time.time_ns()
            last = end_frame(reader.frame_count, reader.raw_bytes)
            yield from self._counted(last.header(), last.stored)

    def _counted(self, *parts: Buffer) -> Iterator[Buffer]:
        for part in parts:
            self.wire_bytes += len(part)
            yield part
