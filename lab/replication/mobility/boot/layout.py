"""How a change-log disk is divided: two log areas for each protected disk, then the spool file system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SECTOR = 512
MIB = 1 << 20
FIRST_BYTE = MIB
LOG_SHARE = 0.5
"""Share of the disk for log areas; the rest holds ``.hrl`` files that wait for the process server."""
SMALLEST_AREA = 16 * MIB


class ChangeLogTooSmall(ValueError):
    """The change-log disk cannot hold two areas for each protected disk and a spool."""


@dataclass(frozen=True)
class Area:
    """A part of the change-log disk, in bytes."""

    start: int
    size: int

    @property
    def first_sector(self) -> int:
        """Start in sectors of 512 bytes."""
        return self.start // SECTOR

    @property
    def sectors(self) -> int:
        """Size in sectors of 512 bytes."""
        return self.size // SECTOR


@dataclass(frozen=True)
class DiskAreas:
    """The two log areas of one protected disk."""

    a: Area
    b: Area


@dataclass(frozen=True)
class Layout:
    """Areas in the order of the protected disks, and the spool behind them."""

    disks: tuple[DiskAreas, ...]
    spool: Area


def divide(change_log_bytes: int, disk_bytes: Sequence[int]) -> Layout:
    """Divide a change-log disk; a larger protected disk gets a larger area.

    The result depends on nothing but its arguments, so that every boot finds the same areas.

    Raises:
        ChangeLogTooSmall: an area would have less than 16 MiB.
    """
    for_logs = int((change_log_bytes - FIRST_BYTE) * LOG_SHARE)
    # A quarter of the log space is shared out evenly: a small disk with a busy writer needs room too.
    even = for_logs // 4 // len(disk_bytes)
    total = sum(disk_bytes)
    position = FIRST_BYTE
    found = []
    for size in disk_bytes:
        share = (even + for_logs * 3 // 4 * size // total) // 2
        area_bytes = share // MIB * MIB
        if area_bytes < SMALLEST_AREA:
            raise ChangeLogTooSmall(f"the change-log disk is too small: give it at least {_enough(disk_bytes)} MiB")
        found.append(DiskAreas(Area(position, area_bytes), Area(position + area_bytes, area_bytes)))
        position += 2 * area_bytes
    return Layout(tuple(found), Area(position, (change_log_bytes - position) // MIB * MIB))


def _enough(disk_bytes: Sequence[int]) -> int:
    """Return the MiB with which the smallest disk gets its areas; the sum above, solved for the log space."""
    count, total, smallest = len(disk_bytes), sum(disk_bytes), min(disk_bytes)
    for_logs = 8 * SMALLEST_AREA * count * total / (total + 3 * count * smallest)
    return int(for_logs / LOG_SHARE + FIRST_BYTE) // MIB + 2
