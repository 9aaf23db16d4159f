"""Protected disks and the mappings above them that the boot script made."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from lab.replication.mobility.capture import CapturedDisk, ChangeLogGap
from lab.replication.mobility.device_mapper import DeviceMapper
from lab.replication.mobility.write_log import SECTOR

MAPPER = Path("/dev/mapper")


@dataclass(frozen=True)
class MappedDisk:
    """A protected disk below its mapping."""

    disk: CapturedDisk
    name: str
    source: str
    sectors: int

    def area(self, letter: str) -> Path:
        """Return one of the two log areas."""
        return MAPPER / f"{self.name}-log-{letter}"

    def grown_to(self, sectors: int) -> MappedDisk:
        """Return the mapping with so many sectors; a disk does not become smaller under a system that runs."""
        if sectors <= self.sectors:
            return self
        return replace(self, sectors=sectors, disk=replace(self.disk, size=sectors * SECTOR))


def mapped_disk(mapper: DeviceMapper, index: int, disk_name: str) -> MappedDisk:
    """Return a disk that the boot script has put below a mapping. Raises ChangeLogGap when it has not."""
    name = f"mobility-{disk_name}"
    target = mapper.table(name)
    if target.kind != "log-writes":
        raise ChangeLogGap(disk_name, "the disk is not captured: the machine has no change-log disk")
    source = target.parameters.split()[0]
    disk = CapturedDisk(index, disk_name, device_of(source), target.sectors * SECTOR)
    return MappedDisk(disk, name, source, target.sectors)


def device_of(number: str) -> Path:
    """Return the block device of a number, given as major:minor."""
    return Path("/dev") / Path(f"/sys/dev/block/{number}").resolve().name


def sectors_of(source: str) -> int:
    """Return the present size of a block device, given as major:minor, in sectors of 512 bytes."""
    return int(Path(f"/sys/dev/block/{source}/size").read_text(encoding="ascii"))


def number_of(path: Path) -> str:
    """Return the number of a block device, as major:minor."""
    number = path.stat().st_rdev
    return f"{os.major(number)}:{os.minor(number)}"
