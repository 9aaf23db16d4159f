"""A document on its way out: compressed frame by frame while it is sent (seed L49)."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Protocol

from lab.replication.changeset import Buffer, Source, end_frame, head_frame
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

    @property
    def empty(self) -> bool:
        """Whether nothing is left of the pieces that were taken."""
        return not self._waiting

    def put_back(self, piece: Buffer) -> None:
        """Have a piece read before all others; nothing may be left."""
        self._waiting += piece

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


class Parts:
    """A document whose parts are read as they were made: a part that is exactly what is asked for is not copied."""

    def __init__(self, parts: Iterator[Buffer]) -> None:
        self._parts = parts
        self._rest = Pieces(parts)

    def read(self, size: int, /) -> Buffer:
        """Return ``size`` bytes, fewer only at the end."""
        if self._rest.empty:
            part = next(self._parts, b"")
            if len(part) == size:
                return part
            self._rest.put_back(part)
        return self._rest.read(size)

    def close(self) -> None:
        """Nothing to do: the parts belong to whoever made them."""


class Opened(Source, Protocol):
    """A document that is closed in the end."""

    def close(self) -> None:
        """Close it."""


class Optimised:
    """A document on its way out: compressed frame by frame while it is sent, and measured.

    ``opened`` opens it at its beginning, for every attempt anew.
    """

    def __init__(self, opened: Callable[[], Opened]) -> None:
        self._opened = opened
        self.raw_bytes = 0
        self.wire_bytes = 0
        self.optimised_ns = 0

    def parts(self) -> Iterator[Buffer]:
        """Yield the document's bytes in large pieces; every call begins again."""
        waiting = bytearray()
        for piece in self._pieces():
            large = len(piece) >= PIECE_BYTES
            if not large:
                waiting += piece
            if len(waiting) >= PIECE_BYTES or (large and waiting):
                yield waiting
                waiting = bytearray()
            if large:
                yield piece
        if waiting:
            yield waiting

    def _pieces(self) -> Iterator[Buffer]:
        self.wire_bytes = 0
        codec = Zstd()
        with closing(self._opened()) as source:
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
