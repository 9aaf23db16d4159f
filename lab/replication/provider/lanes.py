"""Several connections to one export, each with a request under way: nobody waits for one answer after the other.

One request at a time costs two changes of process each, which on a busy host is most of the time that it takes.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from lab.replication.changeset import Buffer
from lab.replication.provider.nbd_client import NbdDisk

LANES = 2
MOST_WAITING = 32
MOST_BYTES = 8 << 20
"""So many requests and bytes may be under way."""


class Lanes:
    """Reads ahead and writes behind; for one thread. ``connect`` opens one more connection."""

    def __init__(self, connect: Callable[[], NbdDisk], count: int = LANES) -> None:
        self._free: queue.SimpleQueue[NbdDisk] = queue.SimpleQueue()
        self._disks: list[NbdDisk] = []
        try:
            for _ in range(count):
                self._disks.append(connect())
                self._free.put(self._disks[-1])
        except BaseException:
            self._disconnect()
            raise
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="lane")
        self._written: dict[Future[None], tuple[int, int]] = {}

    @property
    def size(self) -> int:
        """How large the disk is, in bytes."""
        return self._disks[0].size

    def read_ahead(self, places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, Buffer]]:
        """Yield the content of ``(offset, length)``, in this order. Raises BadDevice."""
        self.settle()
        asked: deque[tuple[int, int, Future[Buffer]]] = deque()
        under_way = 0
        try:
            for offset, length in places:
                asked.append((offset, length, self._threads.submit(self._read, offset, length)))
                under_way += length
                while len(asked) > MOST_WAITING or under_way > MOST_BYTES:
                    first, size, answer = asked.popleft()
                    under_way -= size
                    yield first, answer.result()
            while asked:
                first, _, answer = asked.popleft()
                yield first, answer.result()
        finally:
            for _, _, unwanted in asked:
                unwanted.cancel()

    def write(self, offset: int, data: Buffer) -> None:
        """Begin to write ``data``, which nobody changes afterwards. Raises BadDevice: an earlier write failed."""
        place = (offset, offset + len(data))
        if any(start < place[1] and place[0] < end for start, end in self._written.values()):
            # Two requests under way at once have no order.
            self.settle()
        while len(self._written) > MOST_WAITING or self._bytes_under_way > MOST_BYTES:
            self._collect(wait(self._written, return_when=FIRST_COMPLETED).done)
        self._written[self._threads.submit(self._write, offset, data)] = place

    def settle(self) -> None:
        """Wait until everything is written. Raises BadDevice."""
        self._collect(wait(self._written).done)

    def flush(self) -> None:
        """Make every write durable. Raises BadDevice."""
        self.settle()
        # All connections are to one image of one server: what it has answered is flushed by any of them.
        self._disks[0].flush()

    def close(self) -> None:
        """End the connections."""
        self._threads.shutdown(cancel_futures=True)
        self._disconnect()

    @property
    def _bytes_under_way(self) -> int:
        return sum(end - start for start, end in self._written.values())

    def _collect(self, done: set[Future[None]]) -> None:
        for each in done:
            del self._written[each]
        for each in done:
            each.result()

    def _read(self, offset: int, length: int) -> Buffer:
        disk = self._free.get()
        try:
            return disk.read(offset, length)
        finally:
            self._free.put(disk)

    def _write(self, offset: int, data: Buffer) -> None:
        disk = self._free.get()
        try:
            disk.write(offset, data)
        finally:
            self._free.put(disk)

    def _disconnect(self) -> None:
        for disk in self._disks:
            disk.close()
