"""A document on its way in: read while it comes, so that it is whole and checked when its last byte is there."""

from __future__ import annotations

import time
from collections.abc import Iterator

from lab.replication.changeset import Buffer


class Arriving:
    """The pieces of a body as a file: what is read is a view of a piece, or a copy where two pieces meet.

    A view is valid until the next read.
    """

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")
        self._at = 0
        self.received_ns = 0
        """When the last byte was there."""

    def read(self, size: int, /) -> Buffer:
        """Return ``size`` bytes, fewer only at the end. Raises what the pieces raise."""
        end = self._at + size
        if end <= len(self._piece):
            begin, self._at = self._at, end
            return self._piece[begin:end]
        return self._over_several(size)

    def close(self) -> None:
        """Nothing to do: the pieces belong to whoever brings them."""

    def _over_several(self, size: int) -> bytes:
        found = bytearray()
        while True:
            taken = self._piece[self._at : self._at + size - len(found)]
            found += taken
            self._at += len(taken)
            if len(found) == size or not self._next_piece():
                return bytes(found)

    def _next_piece(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            self.received_ns = self.received_ns or time.time_ns()
            self._piece = memoryview(b"")
        else:
            self._piece = piece
        self._at = 0
        return piece is not None
