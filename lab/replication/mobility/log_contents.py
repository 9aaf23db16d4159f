"""What the writes of a finished log have left on the disk, and the log itself as a file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from lab.replication.mobility.write_log import DISCARD, Survivor, read_entries, read_part, survivors

COPY_BYTES = 1 << 20
_BLKFLSBUF = 0x1261


class Changes:
    """What the finished logs of one cut have left on the disks, and whether the order of all those writes is known."""

    def __init__(self) -> None:
        self._guessed = False

    @property
    def ordered(self) -> bool:
        """Whether the order was known of everything that was read so far."""
        return not self._guessed

    def read(self, logs: Sequence[str], device: Path) -> Iterator[tuple[int, bytes]]:
        """Yield what the logs of a disk, oldest first, have left on it. Raises BrokenLog, OSError."""
        with ExitStack() as stack:
            entries = []
            for path in logs:
                descriptor = _opened(stack, path)
                # Whoever else has it open has kept what was there before.
                drop_cached_pages(descriptor)
                entries += read_entries(descriptor)
            yield from joined(self._contents(survivors(entries), _opened(stack, device)))

    def _contents(self, parts: Iterable[Survivor], device: int) -> Iterator[tuple[int, bytes]]:
        for part in parts:
            content, known = content_of(part, device)
            self._guessed = self._guessed or not known
            yield part.offset, content


def _opened(stack: ExitStack, path: str | Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    return descriptor


def content_of(part: Survivor, device: int) -> tuple[bytes, bool]:
    """Return the bytes of a part, and whether they are known to be right; where the log cannot tell, the disk does.

    A discarded range has no content of its own until it is written again, so what the disk holds now is right. If the
    disk holds neither of two writes whose order is open, a later one has followed: it is in the next log.
    """
    if part.entry.flags & DISCARD:
        return os.pread(device, part.length, part.offset), True
    data = read_part(part)
    if not part.rivals:
        return data, True
    drop_cached_pages(device)
    present = os.pread(device, part.length, part.offset)
    if present == data:
        return data, True
    merged = bytearray(data)
    for rival in part.rivals:
        start = max(part.offset, rival.offset)
        end = min(part.offset + part.length, rival.offset + rival.length)
        merged[start - part.offset : end - part.offset] = read_part(Survivor(rival, start, end - start))
    return (bytes(merged), True) if present == merged else (data, False)


def joined(parts: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Join neighbours up to a MiB: every piece costs time on its way that has nothing to do with its size."""
    start, pieces, length = 0, list[bytes](), 0
    for offset, data in parts:
        if pieces and (offset != start + length or length + len(data) > COPY_BYTES):
            yield start, b"".join(pieces)
            pieces, length = [], 0
        if not pieces:
            start = offset
        pieces.append(data)
        length += len(data)
    if pieces:
        yield start, b"".join(pieces)


def copy_log(source: Path, target: Path) -> None:
    """Copy what a finished log holds. Raises BrokenLog, OSError."""
    with source.open("rb", buffering=0) as log, target.open("wb", buffering=0) as copy:
        drop_cached_pages(log.fileno())
        entries = read_entries(log.fileno())
        remaining = max((entry.position + entry.length for entry in entries), default=0) + COPY_BYTES
        log.seek(0)
        while remaining > 0 and (data := log.read(min(COPY_BYTES, remaining))):
            copy.write(data)
            remaining -= len(data)
        os.fsync(copy.fileno())


def drop_cached_pages(descriptor: int) -> None:
    """Forget cached pages: the mapping writes to the device below them."""
    try:
        fcntl.ioctl(descriptor, _BLKFLSBUF, 0)
    except OSError:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
