"""Flushes disks of which much was written: dm-log-writes keeps a copy of every write in memory until the next flush.

A file system flushes every few seconds at its own pace. What a fast disk takes meanwhile can be more than the machine
has, and then the kernel ends programs.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lab.replication.mobility.mapped import number_of
from lab.replication.mobility.write_log import SECTOR

log = logging.getLogger(__name__)

LOOK_S = 0.25
END_S = 10.0
MEMORY_SHARE = 16
"""One part of so many of the machine's memory may wait for a flush, for each disk."""
_WRITTEN = 6
"""The field of sectors written in a block device's ``stat`` (kernel: Documentation/block/stat.rst)."""


class Flushed(Protocol):
    """A disk that can be flushed."""

    def written(self) -> int:
        """Return how many bytes were written to it since the machine started."""

    def flush(self) -> None:
        """Make them stable. Raises OSError."""

    def close(self) -> None:
        """Let go of it."""


class MappedDevice:
    """A mapping by its path."""

    def __init__(self, path: Path) -> None:
        self._stat = Path(f"/sys/dev/block/{number_of(path)}/stat")
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def written(self) -> int:
        """Return the bytes that the kernel has counted."""
        return int(self._stat.read_text(encoding="ascii").split()[_WRITTEN]) * SECTOR

    def flush(self) -> None:
        """Have the mapping send a flush to the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the mapping."""
        os.close(self._descriptor)


def bearable() -> int:
    """Return how many bytes of one disk may wait in this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MEMORY_SHARE


class Flusher:
    """Looks after ``disks`` in a thread; of none more than ``most`` bytes wait for longer than a moment."""

    def __init__(self, disks: Sequence[Flushed], most: int) -> None:
        self._disks = disks
        self._most = most
        self._flushed = [disk.written() for disk in disks]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_always, name="flusher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking, and let go of the disks."""
        self._stop.set()
        self._thread.join(END_S)
        for disk in self._disks:
            disk.close()

    def _look_always(self) -> None:
        while not self._stop.wait(LOOK_S):
            for place in range(len(self._disks)):
                try:
                    self._look(place)
                except OSError:  # what the disk did not take its writer hears of too
                    log.exception("a disk was not flushed")

    def _look(self, place: int) -> None:
        written = self._disks[place].written()
        if written - self._flushed[place] >= self._most:
            self._flushed[place] = written
            self._disks[place].flush()
