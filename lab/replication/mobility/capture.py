"""What the mobility service needs from whatever captures a machine's writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.replication.changeset import Buffer
from lab.replication.mobility.rendezvous import ALONE, Rendezvous


class ChangeLogGap(Exception):
    """Writes may be missing from a disk's change log: only comparing everything helps.

    Args:
        disk: the name of the disk.
        reason: what happened.
        cause: a name for it that programs know, such as ``forced-shutdown`` (domain 2.4).
    """

    def __init__(self, disk: str, reason: str, cause: str | None = None) -> None:
        super().__init__(f"{disk}: {reason}")
        self.disk = disk
        self.reason = reason
        self.cause = cause


@dataclass(frozen=True)
class CapturedDisk:
    """A disk whose writes are captured; ``size`` in bytes."""

    index: int
    name: str
    device: Path
    size: int


@dataclass(frozen=True)
class Cut:
    """One instant on all disks: realtime nanoseconds around it, and what the capture knows it by."""

    begin_ns: int
    end_ns: int
    token: str


class DiskReader(Protocol):
    """An open disk that is read in bulk: pieces of a MiB into page-aligned memory."""

    def offsets(self, length: int) -> Iterable[int]:
        """Return where pieces of ``length`` bytes begin, without those of which is known that they hold zeros only."""

    def read_each(
        self, offsets: Iterable[int], length: int, room: Callable[[], memoryview]
    ) -> Iterator[tuple[int, memoryview]]:
        """Yield each of ``offsets`` with what is there, up to the end of the disk, in the memory that ``room`` gives.

        ``room`` is asked for ``length`` bytes at a time, once everything before was looked at.
        """

    def close(self) -> None:
        """Close it."""


class DeviceReader:
    """A block device or file as a ``DiskReader``; ``size`` in bytes."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size

    def offsets(self, length: int) -> Iterable[int]:
        """Return all places: a device does not say where it is empty."""
        return range(0, self._size, length)

    def read_each(
        self, offsets: Iterable[int], length: int, room: Callable[[], memoryview]
    ) -> Iterator[tuple[int, memoryview]]:
        """Read from the device."""
        del length
        for offset in offsets:
            piece = room()
            yield offset, piece[: os.preadv(self._descriptor, [piece], offset)]

    def close(self) -> None:
        """Close the device."""
        os.close(self._descriptor)


class DiskSource(Protocol):
    """Where disks can be read from."""

    def open_disk(self, disk: CapturedDisk) -> DiskReader:
        """Open a disk for reading all of it; the caller closes it."""


class Capture(Protocol):
    """Captures writes of all protected disks from the machine's first write on. Calls come one at a time."""

    def disks(self) -> Sequence[CapturedDisk]:
        """Return the disks, by index, with the sizes to which they are captured."""

    def present_sizes(self) -> Mapping[int, int]:
        """Return the size of each disk itself, in bytes by index: one may have grown, which ``restart`` takes over."""

    def generation(self) -> str:
        """Return a name for the unbroken record: equal names mean that no write was missed in between.

        It survives restarts of the service and orderly ones of the machine, and changes whenever the record was broken.
        """

    def restart(self) -> Cut:
        """Drop everything captured so far, also after a gap, and begin again; nothing has to be drained.

        Disks that have grown are captured to their present sizes from here on.
        """

    def cut(self, rendezvous: Rendezvous = ALONE, *, freeze: bool = False) -> Cut:
        """Suspend all disks, swap logs, resume. Changes of a cut that was never released belong to the next one.

        ``freeze``: file systems on the disks are clean at the instant, as if they had been unmounted.

        Raises:
            ChangeLogGap: a log overflowed or cannot be trusted.
            Abandoned: ``rendezvous`` did not come about; nothing was suspended.
        """

    def drain(self, cut: Cut, disk: CapturedDisk) -> Iterator[tuple[int, Buffer]]:
        """Yield ``(offset, bytes)`` of what changed between the cut before and this one.

        In any order, without overlaps, the last write wins. Buffers are only valid until the next one is asked for.

        Raises:
            ChangeLogGap: the log overflowed or cannot be read.
        """

    def is_instant(self, cut: Cut) -> bool:
        """Say, once all disks are drained, whether what came out is exactly the disks at the cut.

        If not, some place was written again since and the next cut puts it right; until then no recovery point may be
        made of what was drained.
        """

    def release(self, cut: Cut) -> None:
        """The changes of ``cut`` are safe elsewhere: its logs may be used again."""

    def open_disk(self, disk: CapturedDisk) -> DiskReader:
        """Open a disk for reading all of it; the caller closes it."""


class LoggingCapture(Capture, Protocol):
    """One whose change logs can run out of space between two cuts."""

    def fullness(self) -> float:
        """Return how full the fullest change log in use is, from 0 to 1. Raises ChangeLogGap, OSError."""

    def close(self, *, goes_on: bool) -> None:
        """Stop using the disks; writes are recorded on below. ``goes_on``: also over an orderly restart."""
