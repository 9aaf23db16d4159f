"""A document on its way, read piece by piece: while it comes in, or while it is made."""

from __future__ import annotations

import time
from collections.abc import Iterator

from lab.replication.changeset import Buffer


class Arriving:
    """Pieces as a file: what is read is a piece itself, a view of one, or a copy where two pieces meet.

    It is valid as long as its piece is: of a body until the next read.
    """

    def __init__(self, pieces: Iterator[Buffer]) -> None:
        self._pieces = pieces
        self._piece: Buffer = b""
        self._at = 0
        self.received_ns = 0
        """When the last byte was there."""

    def read(self, size: int, /) -> Buffer:
        """Return ``size`` bytes, fewer only at the end. Raises what the pieces raise."""
        if size and self._at == len(self._piece):
            self._next_piece()
        begin, end = self._at, self._at + size
        if end > len(self._piece):
            return self._over_several(size)
        self._at = end
        return self._piece if size == len(self._piece) else memoryview(self._piece)[begin:end]

    def close(self) -> None:
        """Nothing to do: the pieces belong to whoever brings them."""

    def _over_several(self, size: int) -> bytes:
        found = bytearray()
        while True:
            taken = memoryview(self._piece)[self._at : self._at + size - len(found)]
            found += taken
            self._at += len(taken)
            if len(found) == size or not self._next_piece():
                return bytes(found)

    def _next_piece(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            self.received_ns = self.received_ns or time.time_ns()
        self._piece, self._at = piece or b"", 0
        return piece is not None
