"""What a host has cut of one machine and not sent yet: ``.hrl`` files beside the disks.

While a log is sent, changes of the next cut go to another one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.replication.changeset import Disk
from lab.replication.mobility.capture import CapturedDisk, Cut
from lab.replication.mobility.hrl import HrlQueue
from lab.replication.mobility.hrl_files import HrlPlaces
from lab.replication.mobility.keeper import Keeper, Label
from lab.replication.mobility.losses import SpoolFull
from lab.replication.mobility.session import CHECKSUM, STEADY, SessionFile
from lab.replication.mobility.telling import Telling
from lab.replication.mobility.uplink import Interrupted
from lab.replication.provider.capture import CheckpointCapture
from lab.replication.provider.order import HostSession

log = logging.getLogger(__name__)

HRL_SHARE = 0.5
"""A disk whose changes take more of its size than this is compared as a whole instead (domain 2.4)."""


class HostRecord:
    """The record of ``session``; ``directory`` is for what is not beside the disks.

    Whoever holds ``lock`` owns the capture, and decides what the next sequence is. ``again`` is set when everything
    has to be compared, ``wake`` when there is something to send.
    """

    def __init__(
        self, capture: CheckpointCapture, session: SessionFile[HostSession], telling: Telling, directory: Path
    ) -> None:
        self.lock = threading.RLock()
        self.again = threading.Event()
        self.wake = threading.Event()
        self._capture = capture
        self._session = session
        self._telling = telling
        self._directory = directory
        self._disks: list[CapturedDisk] = []
        self._queue: HrlQueue | None = None

    @property
    def opened(self) -> bool:
        """Whether the machine and its disks were found."""
        return self._queue is not None

    @property
    def disks(self) -> Sequence[CapturedDisk]:
        """The disks that are replicated."""
        return self._disks

    @property
    def described(self) -> tuple[Disk, ...]:
        """The disks as heads of documents name them."""
        return self._keeper.described

    @property
    def _keeper(self) -> Keeper:
        order = self._session.value.order
        return Keeper(self._capture, self._disks, order.stream, order.machine)

    def queue(self) -> HrlQueue:
        """Return the queue; what an earlier run has left is looked at once. Raises MachineMissing, ChangesLost."""
        with self.lock:
            if self._queue is None:
                self._disks = list(self._capture.disks())
                queue = hrl_queue(self._directory, self._session.value.order.stream, self._disks)
                queue.load()
                following = max(self._session.value.next_sequence, queue.last_sequence() + 1)
                self._session.update(next_sequence=following)
                self._queue = queue
            return self._queue

    def waits(self, last: int) -> bool:
        """Whether a document up to the number ``last`` was not sent yet."""
        oldest = self._queue.oldest() if self._queue is not None else None
        return oldest is not None and oldest.head.sequence <= last

    def forget(self) -> None:
        """Delete what waits."""
        if self._queue is not None:
            self._queue.clear()

    def begin_again(self, reason: str, cause: str | None = None) -> None:
        """Believe nothing of it any more: everything has to be compared."""
        with self.lock:
            if self._session.value.phase == STEADY:
                self._session.update(phase=CHECKSUM)
            self.again.set()
        log.warning("%s: resynchronisation: %s", self._session.value.order.stream, reason)
        self._telling.begins_again(reason, cause, first=not self._session.value.completed)
        self.wake.set()

    def begin(self, queue: HrlQueue, first: int) -> Cut:
        """Begin a new record before a copy whose first document has the number ``first``; return its frozen moment."""
        with self.lock:
            queue.clear()
            moment = self._capture.restart()
            # Should this attempt end early, the replica is blank no more: the next one has to compare.
            self._session.update(phase=CHECKSUM, next_sequence=first)
            return moment

    def keep(self, cut: Cut, *, application: bool = False) -> int:
        """Keep a cut as a recovery point and return its last sequence.

        Raises:
            ChangeLogGap: changes are missing.
            SpoolFull: there is no room for them, or a disk has changed so much that it had better be compared.
        """
        queue = self.queue()
        label = Label(self._session.value.next_sequence, point=True, application=application)
        last = self._keeper.store(queue, cut, label)
        self._session.update(next_sequence=last + 1)
        for disk, waiting in queue.bytes_by_disk().items():
            if waiting > HRL_SHARE * self._capture.present_sizes()[disk]:
                raise SpoolFull(f"the changes of disk {disk} take more than half of its size")
        return last

    def complete(self, queue: HrlQueue, moment: Cut, sequence: int) -> None:
        """Make the first recovery point, with the number ``sequence``, after a copy of ``moment``.

        Raises:
            Interrupted: everything has to be compared again.
            ChangeLogGap: changes are missing.
            SpoolFull: there is no room for them.
        """
        first = not self._session.value.completed
        with self.lock:
            if self.again.is_set():
                raise Interrupted
            self._capture.release(moment)
            last = self._keeper.store(queue, self._capture.cut(), Label(sequence, point=True))
            self._telling.copied(sequence, first=first)
            self._session.update(phase=STEADY, completed=True, next_sequence=last + 1)
        self._telling.wait_heard()


def hrl_queue(directory: Path, stream: str, disks: list[CapturedDisk]) -> HrlQueue:
    """Return the queue of a stream: each ``.hrl`` file is in the folder of its disk."""
    beside: Mapping[int, Path] = {disk.index: disk.device.parent for disk in disks}
    quota = int(HRL_SHARE * sum(disk.size for disk in disks))
    return HrlQueue(directory / "queue", quota, HrlPlaces(directory / "queue", beside, f"{stream}-"))
