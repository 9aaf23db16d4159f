"""From a cut to documents that wait to be sent."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lab.replication.changeset import Buffer, CutTime, Disk, Head
from lab.replication.mobility.capture import Capture, CapturedDisk, Cut
from lab.replication.mobility.hrl import HrlQueue
from lab.replication.retention import APPLICATION_CONSISTENT, CRASH_CONSISTENT


@dataclass(frozen=True)
class Label:
    """What a cut is kept as: its first sequence, whether it makes a recovery point, and what kind of point."""

    sequence: int
    point: bool = False
    shared: str | None = None
    application: bool = False


@dataclass(frozen=True)
class Keeper:
    """Drains cuts of one stream."""

    capture: Capture
    disks: Sequence[CapturedDisk]
    stream: str
    machine: str

    @property
    def described(self) -> tuple[Disk, ...]:
        """The disks as heads of documents name them."""
        return tuple(Disk(disk.index, disk.name, disk.size) for disk in self.disks)

    def store(self, queue: HrlQueue, cut: Cut, label: Label) -> int:
        """Write the changes of a cut to ``queue`` and let their logs be used again; return the last sequence.

        Raises:
            ChangeLogGap: changes are missing.
            SpoolFull: there is no room for them.
        """
        head = Head(
            stream=self.stream,
            sequence=label.sequence,
            kind="delta",
            machine=self.machine,
            disks=self.described,
            cut=CutTime(cut.begin_ns, cut.end_ns, datetime.fromtimestamp(cut.begin_ns / 1e9, UTC).isoformat()),
            recovery_point=f"{self.stream}-{label.sequence}" if label.point else None,
            shared=label.shared,
            point_kind=APPLICATION_CONSISTENT if label.application else CRASH_CONSISTENT,
        )
        last = queue.store(head, self._changes(cut), list(self.disks), lambda: self.capture.is_instant(cut))
        self.capture.release(cut)
        return last

    def _changes(self, cut: Cut) -> Iterator[tuple[int, int, Buffer]]:
        def of(disk: CapturedDisk) -> Iterator[tuple[int, int, Buffer]]:
            for offset, data in self.capture.drain(cut, disk):
                yield disk.index, offset, data

        return itertools.chain.from_iterable(of(disk) for disk in self.disks)
