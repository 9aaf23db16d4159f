"""From data frames to writes of pages: whole pages, at most 4 MiB each, zeros as clears. Pure.

A call to a storage account costs as much as writing some hundred KiB, and an application's writes are scattered. So
writes that lie near each other become a ``Span``: read once, filled, and written once (decision 0011).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lab.replication.changeset import Codec, Corrupt, Frame
from lab.replication.extents import is_zero
from lab.replication.vault.storage import MOST_WRITE, PAGE

NEAR = 64 << 10
"""Bytes between two writes that are rather read and written again than left out at the price of a call."""
FEWEST = 4
"""Fewer writes near each other are written one by one: reading is a call too."""


@dataclass(frozen=True)
class PageWrite:
    """One call for one disk; without ``data`` the pages become zero."""

    disk: int
    offset: int
    length: int
    data: bytes | None

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.length


@dataclass(frozen=True)
class Span:
    """A piece of one disk with several writes in it, in their order; none is a clear."""

    writes: tuple[PageWrite, ...]

    @property
    def disk(self) -> int:
        """The disk of all of them."""
        return self.writes[0].disk

    @property
    def offset(self) -> int:
        """Where the first one begins."""
        return self.writes[0].offset

    @property
    def length(self) -> int:
        """Bytes from there to the end of the last one."""
        return self.writes[-1].end - self.offset

    def filled(self, present: bytes) -> PageWrite:
        """Return one write that does what all of them do. ``present``: what the disk has there now.

        Raises:
            Corrupt: ``present`` is not as long as the piece.
        """
        if len(present) != self.length:
            raise Corrupt(f"{len(present)} bytes were read at {self.offset} of disk {self.disk}, not {self.length}")
        content = bytearray(present)
        for write in self.writes:
            begin = write.offset - self.offset
            content[begin : begin + write.length] = write.data or b""
        return PageWrite(self.disk, self.offset, self.length, bytes(content))


def with_spans(writes: Iterable[PageWrite]) -> Iterator[PageWrite | Span]:
    """Yield the same writes in the same order, those that lie near each other as spans of at most 4 MiB."""
    for near in _runs(writes, _is_near):
        yield from near if len(near) < FEWEST else [Span(tuple(near))]


def _is_near(before: PageWrite, after: PageWrite) -> bool:
    if before.disk != after.disk or before.data is None or after.data is None:
        return False
    return 0 <= after.offset - before.end <= NEAR


def page_writes(frames: Iterable[Frame], codec: Codec | None) -> Iterator[PageWrite]:
    """Yield the writes of a document in its order; frames that follow each other on the disk become one write.

    Raises:
        Corrupt: a frame does not begin and end between two pages, or its payload is damaged.
    """
    for run in _runs((_write(frame, codec) for frame in frames), _continues):
        yield _joined(run)


def _runs(writes: Iterable[PageWrite], belongs: Callable[[PageWrite, PageWrite], bool]) -> Iterator[list[PageWrite]]:
    """Yield the writes in their order, those together of which each ``belongs`` to the one before, at most 4 MiB."""
    run: list[PageWrite] = []
    for write in writes:
        if run and not (belongs(run[-1], write) and write.end - run[0].offset <= MOST_WRITE):
            yield run
            run = []
        run.append(write)
    if run:
        yield run


def _write(frame: Frame, codec: Codec | None) -> PageWrite:
    if frame.offset % PAGE or frame.raw_length % PAGE:
        raise Corrupt(f"{frame.raw_length} bytes at {frame.offset} of disk {frame.disk} are no whole pages")
    raw = frame.raw(codec)
    return PageWrite(frame.disk, frame.offset, frame.raw_length, None if is_zero(raw) else bytes(raw))


def _continues(before: PageWrite, after: PageWrite) -> bool:
    adjacent = before.disk == after.disk and before.end == after.offset
    return adjacent and (before.data is None) == (after.data is None)


def _joined(writes: list[PageWrite]) -> PageWrite:
    first = writes[0]
    parts = [write.data for write in writes if write.data is not None]
    return PageWrite(first.disk, first.offset, writes[-1].end - first.offset, b"".join(parts) if parts else None)
