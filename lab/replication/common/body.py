"""The body of a request, read into one buffer again and again: with a length, or in chunks (RFC 9112 section 7.1)."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from io import BufferedIOBase

from lab.replication.changeset import Buffer

BUFFER_BYTES = 1 << 20
LONGEST_LINE = 1024


class BodyTooLong(ValueError):
    """More bytes than the reader is ready to take, or a chunk without a proper size."""


class Body:
    """Yields the body in pieces of up to a MiB; a piece is valid until the next one is asked for."""

    def __init__(self, source: BufferedIOBase, length: int | None) -> None:
        self._source = source
        self.length = length
        self._left = length or 0
        self._chunked = length is None
        self.at_end = length == 0
        self._put_back = b""

    def pieces(self) -> Iterator[memoryview]:
        """Yield the pieces.

        Raises:
            ConnectionError: the sender went away before the end.
            BodyTooLong: a chunk is malformed.
        """
        if self._put_back:
            again, self._put_back = self._put_back, b""
            yield memoryview(again)
        view = memoryview(bytearray(min(BUFFER_BYTES, self.length or BUFFER_BYTES)))
        while count := self._read_into(view):
            yield view[:count]

    def exactly(self, size: int) -> bytearray:
        """Return the next ``size`` bytes, fewer only at the end. Raises ConnectionError, BodyTooLong."""
        content = bytearray(size)
        view = memoryview(content)
        filled = 0
        while filled < size and (count := self._read_into(view[filled:])):
            filled += count
        view.release()
        del content[filled:]
        return content

    def put_back(self, beginning: Buffer) -> None:
        """Have ``pieces`` begin with what was taken by ``exactly`` already."""
        self._put_back = bytes(beginning)

    def _read_into(self, view: memoryview) -> int:
        """Fill ``view`` as far as the present chunk goes; return 0 at the end."""
        while not self.at_end and self._left == 0:
            self._begin_chunk()
        if self.at_end:
            return 0
        count = self._source.readinto(view[: self._left])
        if not count:
            raise ConnectionResetError("the body ended early")
        self._left -= count
        if self._left == 0:
            self._end_chunk()
        return count

    def read(self, most: int) -> bytes:
        """Return the whole body. Raises BodyTooLong when it has more than ``most`` bytes, ConnectionError."""
        found = bytearray()
        for piece in self.pieces():
            found += piece
            if len(found) > most:
                raise BodyTooLong(f"the body has more than {most} bytes")
        return bytes(found)

    def _begin_chunk(self) -> None:
        line = self._source.readline(LONGEST_LINE)
        try:
            self._left = int(line.split(b";")[0], 16)
        except ValueError as error:
            if not line:
                raise ConnectionResetError("the body ended early") from error
            raise BodyTooLong(f"no chunk size: {line[:40]!r}") from error
        if self._left == 0:
            while self._source.readline(LONGEST_LINE).strip():
                pass
            self.at_end = True

    def _end_chunk(self) -> None:
        if self._chunked:
            self._source.readline(LONGEST_LINE)
        else:
            self.at_end = True


def body_of(headers: Message, source: BufferedIOBase) -> Body:
    """Return the body that a request's headers announce."""
    if "chunked" in (headers.get("Transfer-Encoding") or "").lower():
        return Body(source, None)
    length = headers.get("Content-Length") or "0"
    return Body(source, int(length) if length.isdigit() else 0)
