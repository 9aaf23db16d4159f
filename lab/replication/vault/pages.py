"""From data frames to writes of pages: whole pages, at most 4 MiB each, zeros as clears. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lab.replication.changeset import Codec, Corrupt, Frame
from lab.replication.extents import is_zero
from lab.replication.vault.storage import MOST_WRITE, PAGE


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


def page_writes(frames: Iterable[Frame], codec: Codec | None) -> Iterator[PageWrite]:
    """Yield the writes of a document in its order; frames that follow each other on the disk become one write.

    Raises:
        Corrupt: a frame does not begin and end between two pages, or its payload is damaged.
    """
    waiting: list[PageWrite] = []
    total = 0
    for write in (_write(frame, codec) for frame in frames):
        if waiting and not (_continues(waiting[-1], write) and total + write.length <= MOST_WRITE):
            yield _joined(waiting)
            waiting, total = [], 0
        waiting.append(write)
        total += write.length
    if waiting:
        yield _joined(waiting)


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
    length = sum(write.length for write in writes)
    parts = [write.data for write in writes if write.data is not None]
    return PageWrite(first.disk, first.offset, length, b"".join(parts) if parts else None)
