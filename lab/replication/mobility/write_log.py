"""Read what dm-log-writes wrote (kernel: drivers/md/dm-log-writes.c).

Sector 0 holds ``magic u64, version u64, entries u64, sector_size u32``; all sectors are of that size, which is the
logical block size of the log's device. Then entry by entry: one sector with
``sector u64, sectors u64, flags u64, data_bytes u64``, then the written sectors unless it is a discard or a mark.

An entry is logged when its write is stable: plain writes at the next flush, in the order of their completion, FUA
writes at once. So a FUA write can stand before an older plain write to the same place; see ``Survivor.rivals``.
"""

from __future__ import annotations

import bisect
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

MAGIC = 0x6A736677736872
VERSION = 1
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
END_MARK = b"dm-log-writes-end"
SECTOR = 512
_SUPER = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
_AHEAD, _STEP = 1 << 20, 1 << 18


class BrokenLog(Exception):
    """The log has no proper end, so writes may be missing, or it is not a log at all."""


class LogOverflow(BrokenLog):
    """There was no room for all writes."""


@dataclass(frozen=True)
class Entry:
    """One logged write: where it went (``offset``, ``length``), its flags, and where its data is in the log."""

    offset: int
    length: int
    flags: int
    source: int
    position: int
    """File descriptor and byte position of the data."""

    @property
    def only_fua(self) -> bool:
        """Whether it may have overtaken older plain writes."""
        return bool(self.flags & FUA) and not self.flags & FLUSH


@dataclass(frozen=True)
class Survivor:
    """The part of an entry that no later entry overwrote."""

    entry: Entry
    offset: int
    length: int
    rivals: tuple[Entry, ...] = field(default=())
    """Earlier FUA entries to the same place, which may in truth have come later."""


def read_entries(descriptor: int) -> list[Entry]:
    """Return the data-carrying entries of a finished log, in order.

    Raises:
        BrokenLog: no log, or the mark that ends a log is missing (it ran out of space, or the machine stopped).
    """
    magic, version, count, sector_size = _SUPER.unpack(_pread(descriptor, _SUPER.size, 0))
    if (magic, version) != (MAGIC, VERSION):
        raise BrokenLog("there is no write log")
    if sector_size < SECTOR:
        raise BrokenLog(f"the write log claims sectors of {sector_size} bytes")
    reader = _Headers(descriptor)
    entries: list[Entry] = []
    position, last_mark = sector_size, b""
    for _ in range(count):
        header = reader.at(position, sector_size)
        sector, sectors, flags, data_bytes = _ENTRY.unpack_from(header)
        position += sector_size
        if flags & MARK:
            last_mark = bytes(header[_ENTRY.size : _ENTRY.size + data_bytes]).rstrip(b"\0")
        elif sectors:
            entries.append(Entry(sector * sector_size, sectors * sector_size, flags, descriptor, position))
            position += 0 if flags & DISCARD else sectors * sector_size
    if last_mark != END_MARK:
        raise LogOverflow("the write log has no end: it ran out of space")
    return entries


def survivors(entries: list[Entry]) -> list[Survivor]:
    """Return what is left of the entries when later ones win; the parts do not overlap and are in disk order."""
    starts: list[int] = []
    ends: list[int] = []
    found: list[Survivor] = []
    for entry in reversed(entries):
        for start, end in _uncovered(starts, ends, entry.offset, entry.offset + entry.length):
            found.append(Survivor(entry, start, end - start))
        _cover(starts, ends, entry.offset, entry.offset + entry.length)
    found.sort(key=lambda part: part.offset)
    return _with_rivals(found, entries)


def read_part(part: Survivor) -> bytes:
    """Return the bytes of a surviving part from its log."""
    entry = part.entry
    return _pread(entry.source, part.length, entry.position + part.offset - entry.offset)


def _uncovered(starts: list[int], ends: list[int], start: int, end: int) -> Iterator[tuple[int, int]]:
    index = bisect.bisect_right(ends, start)
    while start < end:
        if index == len(starts) or starts[index] >= end:
            yield start, end
            return
        if starts[index] > start:
            yield start, starts[index]
        start = ends[index]
        index += 1


def _cover(starts: list[int], ends: list[int], start: int, end: int) -> None:
    first = bisect.bisect_left(ends, start)
    last = bisect.bisect_right(starts, end)
    if first < last:
        start, end = min(start, starts[first]), max(end, ends[last - 1])
    starts[first:last] = [start]
    ends[first:last] = [end]


def _with_rivals(parts: list[Survivor], entries: list[Entry]) -> list[Survivor]:
    """Name the FUA entries that a plain part may wrongly have won against.

    A journal makes thousands of FUA writes, so each part looks only at those around it.
    """
    order = {id(entry): number for number, entry in enumerate(entries)}
    suspects = sorted((entry for entry in entries if entry.only_fua), key=lambda entry: entry.offset)
    if not suspects:
        return parts
    starts = [entry.offset for entry in suspects]
    longest = max(entry.length for entry in suspects)

    def rivals(part: Survivor) -> tuple[Entry, ...]:
        first = bisect.bisect_right(starts, part.offset - longest)
        last = bisect.bisect_left(starts, part.offset + part.length)
        around = (entry for entry in suspects[first:last] if entry.offset + entry.length > part.offset)
        earlier = [entry for entry in around if order[id(entry)] < order[id(part.entry)]]
        return tuple(sorted(earlier, key=lambda entry: order[id(entry)]))

    return [
        part if part.entry.flags & (FUA | FLUSH) else Survivor(part.entry, part.offset, part.length, rivals(part))
        for part in parts
    ]


class _Headers:
    """Entry headers, one sector each; the kernel is asked for what is between them, which is wanted soon after."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._asked = 0

    def at(self, position: int, length: int) -> bytes:
        while self._asked < position + _AHEAD:
            os.posix_fadvise(self._descriptor, self._asked, _STEP, os.POSIX_FADV_WILLNEED)
            self._asked += _STEP
        data = os.pread(self._descriptor, length, position)
        if len(data) < length:
            raise BrokenLog("the write log ends in the middle of an entry")
        return data


def _pread(descriptor: int, length: int, position: int) -> bytes:
    data = os.pread(descriptor, length, position)
    if len(data) != length:
        raise BrokenLog(f"the write log ends at byte {position + len(data)}")
    return data
