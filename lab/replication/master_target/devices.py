"""Replica disks as block devices of this machine, found by their serial number."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from lab.replication.changeset import Buffer
from lab.waiting import Deadline, wait_until

SYS_BLOCK = Path("/sys/block")
ATTACH_TIMEOUT_S = 30.0
BLKFLSBUF = 0x1261

Resolver = Callable[[str], Path | None]


class BlockDevice(Protocol):
    """A replica disk that is open; a place that it does not have raises BadDevice."""

    def read_each(self, places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, Buffer]]:
        """Yield exactly the bytes at each ``(offset, length)``, in this order; nothing is written meanwhile."""

    def write(self, offset: int, data: Buffer) -> None:
        """Write all of ``data``, which nobody changes afterwards; it is durable after ``flush``."""

    def flush(self) -> None:
        """Make every write durable."""

    def close(self) -> None:
        """Flush and let go of it."""


OpenDevice = Callable[[Path, int], BlockDevice]
"""Opens the replica disk of so many bytes. Raises BadDevice."""


class BadDevice(OSError):
    """A device is missing or is not what the stream needs."""


def resolve_serial(serial: str) -> Path | None:
    """Return the device node of the disk with this serial number, or None."""
    for found in [*SYS_BLOCK.glob("*/serial"), *SYS_BLOCK.glob("*/device/serial")]:
        with suppress(OSError):  # Another disk is being unplugged: its file was listed, and reading it is ENODEV.
            if found.read_text(errors="replace").strip() == serial:
                return Path("/dev") / found.relative_to(SYS_BLOCK).parts[0]
    return None


def found_disk(serial: str, resolve: Resolver) -> Path:
    """Return the device of a disk that was plugged in just now. Raises DeadlineExceeded when it does not appear."""
    return wait_until(lambda: resolve(serial), Deadline.after(ATTACH_TIMEOUT_S), f"disk {serial}")


class Device:
    """An open replica disk of ``size`` bytes.

    Raises:
        BadDevice: it is too small or cannot be opened.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise BadDevice(f"{path}: {error.strerror}") from error
        actual = os.lseek(self._descriptor, 0, os.SEEK_END)
        if actual < size:
            os.close(self._descriptor)
            raise BadDevice(f"{path} has {actual} bytes, the stream's disk has {size}")

    def read_each(self, places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, Buffer]]:
        """Yield the bytes at each ``(offset, length)``. Raises BadDevice: the device ends before."""
        return ((offset, self._read(offset, length)) for offset, length in places)

    def _read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes.

        Raises:
            BadDevice: the device ends before.
        """
        data = os.pread(self._descriptor, length, offset)
        while len(data) < length:
            more = os.pread(self._descriptor, length - len(data), offset + len(data))
            if not more:
                raise BadDevice(f"{self._path} ends at {offset + len(data)}")
            data += more
        return data

    def write(self, offset: int, data: Buffer) -> None:
        """Write all of ``data``; it is durable after ``flush``."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view = view[written:]
            offset += written

    def flush(self) -> None:
        """Make every write durable."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Flush, and forget cached pages: the disk may be changed elsewhere before it is opened again."""
        try:
            self.flush()
            if stat.S_ISBLK(os.fstat(self._descriptor).st_mode):
                fcntl.ioctl(self._descriptor, BLKFLSBUF, 0)
        finally:
            os.close(self._descriptor)


class DeviceSet:
    """The open devices of a stream, by disk index."""

    def __init__(self, devices: dict[int, BlockDevice]) -> None:
        self._devices = devices

    @classmethod
    def open(cls, wanted: dict[int, tuple[str, int]], resolve: Resolver, open_device: OpenDevice = Device) -> DeviceSet:
        """Open ``{index: (serial, size)}``; a hot-plugged disk may take a moment to appear.

        Raises:
            BadDevice: a disk cannot be opened.
            DeadlineExceeded: a disk does not appear.
        """
        opened: dict[int, BlockDevice] = {}
        try:
            for index, (serial, size) in wanted.items():
                opened[index] = open_device(found_disk(serial, resolve), size)
        except BaseException:
            cls(opened).close()
            raise
        return cls(opened)

    def __getitem__(self, index: int) -> BlockDevice:
        """Return the device of a disk.

        Raises:
            BadDevice: this set has no such disk.
        """
        try:
            return self._devices[index]
        except KeyError:
            raise BadDevice(f"disk {index} is not one of this stream's") from None

    def __contains__(self, index: int) -> bool:
        """Whether the set has this disk."""
        return index in self._devices

    def flush(self) -> None:
        """Make every write to every device durable."""
        for device in self._devices.values():
            device.flush()

    def close(self) -> None:
        """Close all devices."""
        for device in self._devices.values():
            device.close()
        self._devices = {}
