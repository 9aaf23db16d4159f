"""Frozen moments of a libvirt machine: of one that runs by an open backup, of one that is off by its images."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from lab.replication.changeset import Buffer
from lab.replication.master_target.devices import BadDevice
from lab.replication.mobility.capture import CapturedDisk
from lab.replication.provider.lanes import Lanes
from lab.replication.provider.nbd_client import ALLOCATION, Area, NbdDisk, dirty_bitmap
from lab.replication.provider.qemu_nbd import ReadImage
from lab.replication.provider.tracking import TrackingLost

TOOL_S = 60.0


class LiveMoment:
    """An open pull-mode backup; ``end`` ends it. Raises BadDevice when it does not serve what it should."""

    stamp = ""

    def __init__(
        self, checkpoint: str, disks: Sequence[CapturedDisk], since: str | None, socket: Path, end: Callable[[], None]
    ) -> None:
        self.checkpoint: str | None = checkpoint
        self._end = end
        self._bitmaps = {d.index: dirty_bitmap(f"backup-{d.name}") if since else ALLOCATION for d in disks}
        self._disks: dict[int, NbdDisk] = {}
        self._lanes: dict[int, Lanes] = {}
        try:
            for disk in disks:
                name = f"disk{disk.index}"
                self._disks[disk.index] = NbdDisk(socket, name, [self._bitmaps[disk.index]])
                self._lanes[disk.index] = Lanes(partial(NbdDisk, socket, name))
        except BadDevice:
            self._disconnect()
            raise

    def changed(self, disk: int) -> Iterator[Area]:
        """Yield what changed since the moment before. Raises TrackingLost when that was not asked for."""
        if self._bitmaps[disk] == ALLOCATION:
            raise TrackingLost("this moment was made without an earlier one")
        return self._disks[disk].areas(self._bitmaps[disk])

    def data(self, disk: int) -> Iterator[Area]:
        """Yield what is not known to be zero."""
        if self._bitmaps[disk] == ALLOCATION:
            return self._disks[disk].areas(ALLOCATION)
        return iter([Area(0, self._disks[disk].size)])

    def read_each(self, disk: int, places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, Buffer]]:
        """Yield bytes of the moment."""
        return self._lanes[disk].read_ahead(places)

    def still_valid(self) -> bool:
        """Return True: QEMU keeps the moment for as long as the backup is open, and refuses reads afterwards."""
        return True

    def close(self) -> None:
        """End the backup."""
        self._disconnect()
        self._end()

    def _disconnect(self) -> None:
        for lanes in self._lanes.values():
            lanes.close()
        for disk in self._disks.values():
            disk.close()


class OfflineMoment:
    """The images of a machine that is off. ``bitmaps`` are those of which each may know of a change, oldest first.

    ``off`` says whether the machine is still off.
    """

    checkpoint: str | None = None

    def __init__(self, disks: Sequence[CapturedDisk], bitmaps: Sequence[str], off: Callable[[], bool]) -> None:
        self._paths = [disk.device for disk in disks]
        self._bitmaps = bitmaps
        self._off = off
        self.stamp = self._stamp()
        self._images: dict[int, ReadImage] = {}
        try:
            for disk in disks:
                self._images[disk.index] = ReadImage(disk.device, bitmaps)
        except BadDevice as error:
            self._close_images()
            raise TrackingLost(str(error)) from error

    def changed(self, disk: int) -> Iterator[Area]:
        """Yield what any of the bitmaps knows of."""
        served = self._images[disk].disks
        found = [list(each.areas(dirty_bitmap(name))) for each, name in zip(served, self._bitmaps, strict=True)]
        return united([area for areas in found for area in areas])

    def data(self, disk: int) -> Iterator[Area]:
        """Yield the whole disk."""
        return iter([Area(0, self._images[disk].disks[0].size)])

    def read_each(self, disk: int, places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, Buffer]]:
        """Yield bytes of the image."""
        image = self._images[disk].disks[0]
        return ((offset, image.read(offset, length)) for offset, length in places)

    def still_valid(self) -> bool:
        """Say whether nothing has started on the images since they were opened."""
        return self._off() and self._stamp() == self.stamp

    def close(self) -> None:
        """Close the images."""
        self._close_images()

    def _stamp(self) -> str:
        return ",".join(str(path.stat().st_mtime_ns) for path in self._paths)

    def _close_images(self) -> None:
        for image in self._images.values():
            image.close()

    @staticmethod
    def remove_bitmap(disk: CapturedDisk, name: str) -> None:
        """Remove a bitmap from the image of a machine that is off, if it has it."""
        command = ["qemu-img", "bitmap", "--remove", str(disk.device), name]
        subprocess.run(command, check=False, capture_output=True, timeout=TOOL_S)


def united(areas: Sequence[Area]) -> Iterator[Area]:
    """Yield what at least one of the areas covers, in order; those that touch become one."""
    waiting: Area | None = None
    for area in sorted(areas, key=lambda each: each.start):
        if waiting is None or area.start > waiting.end:
            if waiting is not None:
                yield waiting
            waiting = area
        else:
            waiting = Area(waiting.start, max(waiting.end, area.end))
    if waiting is not None:
        yield waiting
