"""Writes what dm-log-writes would have written, from the kernel's source (drivers/md/dm-log-writes.c)."""

import struct
from dataclasses import dataclass

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


@dataclass(frozen=True)
class Write:
    """One write, in sectors of the log."""

    sector: int
    sectors: int
    flags: int = 0
    fill: int = 0

    def data(self, sector_size: int) -> bytes:
        """Return different bytes for each sector of each write."""
        if self.flags & DISCARD:
            return b""
        parts = (struct.pack("<II", self.fill, number).ljust(sector_size, b"\x5a") for number in range(self.sectors))
        return b"".join(parts)


@dataclass(frozen=True)
class Mark:
    """A named place in the log."""

    name: bytes = b"dm-log-writes-end"


END = Mark()


def encode(items: list[Write | Mark], sector_size: int = 512, *, entries: int | None = None) -> bytes:
    """Return a whole log; ``entries`` overrides the number in its first sector."""
    count = len(items) if entries is None else entries
    log = [struct.pack("<QQQI", MAGIC, 1, count, sector_size).ljust(sector_size, b"\0")]
    for item in items:
        if isinstance(item, Mark):
            header = struct.pack("<QQQQ", 0, 0, MARK, len(item.name)) + item.name
            log.append(header.ljust(sector_size, b"\0"))
        else:
            log.append(struct.pack("<QQQQ", item.sector, item.sectors, item.flags, 0).ljust(sector_size, b"\0"))
            log.append(item.data(sector_size))
    return b"".join(log)
