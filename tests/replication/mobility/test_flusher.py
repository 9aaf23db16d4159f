"""Flushes of disks that are written faster than their file systems flush them."""

from __future__ import annotations

import errno
import threading

from lab.replication.mobility.flusher import Flusher
from lab.waiting import Deadline, wait_until

MOST = 1000


class Disk:
    """Counts flushes; ``broken``: they fail."""

    def __init__(self, *, broken: bool = False) -> None:
        self.bytes = 5000
        self.flushes = 0
        self.closed = False
        self._broken = broken
        self.looked = threading.Semaphore(0)

    def written(self) -> int:
        self.looked.release()
        return self.bytes

    def flush(self) -> None:
        self.flushes += 1
        if self._broken:
            raise OSError(errno.EIO, "no disk")

    def close(self) -> None:
        self.closed = True

    def looked_at(self, times: int) -> None:
        for _ in range(times):
            assert self.looked.acquire(timeout=20)


def test_a_disk_is_flushed_each_time_that_much_was_written_and_not_for_little():
    busy, calm = Disk(), Disk()
    flusher = Flusher([busy, calm], MOST)
    try:
        calm.looked_at(3)
        assert (busy.flushes, calm.flushes) == (0, 0)
        for number in (1, 2):
            busy.bytes += MOST
            calm.bytes += MOST // 3
            wait_until(lambda wanted=number: busy.flushes == wanted, Deadline.after(20), "flush")
        calm.looked_at(3)
        assert (busy.flushes, calm.flushes) == (2, 0)
    finally:
        flusher.close()
    assert busy.closed
    assert calm.closed


def test_a_flush_that_fails_ends_neither_the_thread_nor_the_flushes_of_others():
    broken, whole = Disk(broken=True), Disk()
    flusher = Flusher([broken, whole], MOST)
    try:
        for number in (1, 2):
            broken.bytes += MOST
            whole.bytes += MOST
            wait_until(lambda wanted=number: whole.flushes == wanted, Deadline.after(20), "flush")
        assert broken.flushes == 2
    finally:
        flusher.close()
