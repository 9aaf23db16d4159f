"""Stand-in for dm-log-writes: disks are files, writes go through ``Disks.write`` and are logged as the kernel would.

Writers and the agent may be different processes: a file lock is what suspending the devices is in the real one.
At every cut a copy of all disks is kept as ``oracle/<begin_ns>-<disk>.img``: what that recovery point has to be.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from lab.replication.common.config import ServiceConfig
from lab.replication.mobility.capture import CapturedDisk, ChangeLogGap, Cut, DeviceReader
from lab.replication.mobility.rendezvous import ALONE, Rendezvous

RECORD = struct.Struct("<HQI")


class Disks:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def create(self, sizes: list[int], content: bytes = b"") -> None:
        (self.directory / "oracle").mkdir(parents=True)
        for index, size in enumerate(sizes):
            with self.image(index).open("wb") as file:
                file.write(content)
                file.truncate(size)
        (self.directory / "generation").write_text(uuid.uuid4().hex)
        (self.directory / "number").write_text("0")

    def image(self, index: int) -> Path:
        return self.directory / f"disk-{index}.img"

    def images(self) -> list[Path]:
        return sorted(self.directory.glob("disk-*.img"))

    def logs(self) -> list[Path]:
        return sorted(self.directory.glob("log-*"))

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def write(self, index: int, offset: int, data: bytes) -> None:
        with self.suspended():
            number = int((self.directory / "number").read_text())
            with (self.directory / f"log-{number:08}").open("ab") as log:
                log.write(RECORD.pack(index, offset, len(data)) + data)
            with self.image(index).open("r+b") as image:
                image.seek(offset)
                image.write(data)

    def oracle(self, begin_ns: int, index: int) -> bytes:
        return (self.directory / "oracle" / f"{begin_ns}-{index}.img").read_bytes()

    def overflow(self) -> None:
        """The log was full for a while: writes are missing in it."""
        (self.directory / "gap").write_text("the log is full")


class FileCapture:
    def __init__(self, disks: Disks, log_bytes: int = 1 << 40) -> None:
        self._disks = disks
        self._log_bytes = log_bytes

    def disks(self) -> list[CapturedDisk]:
        return [
            CapturedDisk(index, f"vd{'ab'[index]}", path, path.stat().st_size)
            for index, path in enumerate(self._disks.images())
        ]

    def present_sizes(self) -> dict[int, int]:
        return {disk.index: disk.size for disk in self.disks()}

    def generation(self) -> str:
        return (self._disks.directory / "generation").read_text()

    def restart(self) -> Cut:
        with self._disks.suspended():
            (self._disks.directory / "gap").unlink(missing_ok=True)
            for log in self._disks.logs():
                log.unlink()
        return Cut(time.time_ns(), time.time_ns(), "")

    def cut(self, rendezvous: Rendezvous = ALONE, *, freeze: bool = False) -> Cut:
        del freeze  # files have no file system on them
        rendezvous.ready()
        with self._disks.suspended():
            begin = time.time_ns()
            if (self._disks.directory / "gap").exists():
                raise ChangeLogGap("vda", "the log is full")
            number = int((self._disks.directory / "number").read_text())
            (self._disks.directory / "number").write_text(str(number + 1))
            for index, image in enumerate(self._disks.images()):
                shutil.copyfile(image, self._disks.directory / "oracle" / f"{begin}-{index}.img")
            end = time.time_ns()
            rendezvous.held()
            return Cut(begin, end, str(number))

    def fullness(self) -> float:
        number = int((self._disks.directory / "number").read_text())
        log = self._disks.directory / f"log-{number:08}"
        return log.stat().st_size / self._log_bytes if log.exists() else 0.0

    def close(self, *, goes_on: bool) -> None:
        """Files stay as they are, whatever is to go on."""

    def drain(self, cut: Cut, disk: CapturedDisk) -> Iterator[tuple[int, bytes]]:
        sectors: dict[int, bytes] = {}
        for log in self._logs_of(cut):
            data = log.read_bytes()
            at = 0
            while at < len(data):
                index, offset, length = RECORD.unpack_from(data, at)
                at += RECORD.size
                if index == disk.index:
                    for sector in range(0, length, 512):
                        sectors[offset + sector] = data[at + sector : at + sector + 512]
                at += length
        yield from sectors.items()

    def is_instant(self, cut: Cut) -> bool:
        return True

    def release(self, cut: Cut) -> None:
        for log in self._logs_of(cut):
            log.unlink()

    def open_disk(self, disk: CapturedDisk) -> DeviceReader:
        return DeviceReader(os.open(disk.device, os.O_RDONLY), disk.size)

    def _logs_of(self, cut: Cut) -> list[Path]:
        return [log for log in self._disks.logs() if int(log.name[4:]) <= int(cut.token)]


def open_capture(config: ServiceConfig) -> FileCapture:
    return FileCapture(Disks(Path(config.settings["standin_disks"])))
