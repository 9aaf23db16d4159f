"""A document on its way through: compressed frame by frame while it is received, or while it is sent (seed L49)."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Protocol

from lab.replication.changeset import Buffer, Head, Source, Truncated, end_frame, head_frame
from lab.replication.common.arriving import Arriving
from lab.replication.common.compression import Zstd
from lab.replication.document import DocumentReader

PIECE_BYTES = 256 << 10
"""A chunk for each small frame would cost more than what is in it."""
BLOCK_BYTES = 1 << 20


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


class Opened(Source, Protocol):
    """A document that is closed in the end."""

    def close(self) -> None:
        """Close it."""


class Optimised:
    """A document, compressed frame by frame, and measured.

    ``opened`` opens it at its beginning, for every attempt anew. ``checked``: every payload is checked first.
    """

    def __init__(self, opened: Callable[[], Opened], *, checked: bool = False) -> None:
        self._opened = opened
        self._checked = checked
        self.head: Head | None = None
        self.raw_bytes = 0
        self.wire_bytes = 0
        self.optimised_ns = 0

    def parts(self) -> Iterator[Buffer]:
        """Yield the document's bytes in large pieces; every call begins again.

        Raises:
            ChangeSetError: it is damaged.
        """
        waiting = bytearray()
        for piece in self.pieces():
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

    def pieces(self) -> Iterator[Buffer]:
        """Yield the same bytes as they come; a piece is valid until the next one is asked for."""
        self.wire_bytes = 0
        codec = Zstd()
        with closing(self._opened()) as source:
            reader = DocumentReader(source)
            self.head = reader.head
            yield from self._counted(head_frame(reader.head).header(), head_frame(reader.head).stored)
            for frame in reader.frames():
                if self._checked:
                    frame.raw(codec)
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


class OptimisedOnArrival:
    """A document that was checked and compressed while it came, so that it is sent as it was kept.

    Raises:
        ChangeSetError: it is damaged.
    """

    def __init__(self, pieces: Iterator[memoryview], file: BinaryIO) -> None:
        arriving = Arriving(pieces)
        document = Optimised(lambda: arriving, checked=True)
        file.writelines(document.pieces())
        if document.head is None:
            raise Truncated("there is no head frame")
        self.head = document.head
        self.received_ns = arriving.received_ns
        self.raw_bytes, self.wire_bytes = document.raw_bytes, document.wire_bytes
        self.optimised_ns = document.optimised_ns


def blocks_of(path: Path) -> Iterator[bytes]:
    """Yield the content of a file in large blocks."""
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            yield block
