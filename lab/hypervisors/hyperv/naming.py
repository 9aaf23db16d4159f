"""Names on the host. A lab's tag is in the notes of its machines and in the names of its folder and switches."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.hypervisors.model import DiskId
from lab.hypervisors.protocols import HypervisorError

TAG = "recovery-lab"
ROOT = "C:\\recovery-lab"
EXCHANGE = f"{ROOT}\\exchange"
MANAGEMENT = "recovery-lab management"
"""The switch of management cards."""
MANAGEMENT_WITH_HOST = "recovery-lab management with host"
"""The same, for machines that may call services of the lab's host."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,78}\Z")
_LAYER = re.compile(r"(.+)_[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")


@dataclass(frozen=True)
class Tag:
    """What the notes of a machine say: whose it is, and the serial numbers of its disks by their names."""

    lab: str
    machine: str
    serials: Mapping[str, str]
    ssh: str = ""
    """Where the SSH server answers; only an emulated host writes that."""

    def notes(self) -> str:
        """Return the text of the notes."""
        content = {"lab": self.lab, "machine": self.machine, "serials": dict(self.serials)}
        return json.dumps({TAG: content}, separators=(",", ":"))


def tag_of(notes: str) -> Tag | None:
    """Return the tag in the notes of a machine, or None."""
    try:
        document: Any = json.loads(notes)
        found = document[TAG]
        serials = {str(disk): str(serial) for disk, serial in found["serials"].items()}
        return Tag(str(found["lab"]), str(found["machine"]), serials, str(found.get("ssh", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


@dataclass(frozen=True)
class Names:
    """How the objects of one lab are called."""

    lab: str

    @property
    def folder(self) -> str:
        """The lab's folder."""
        return f"{ROOT}\\{self.lab}"

    @property
    def disks(self) -> str:
        """The folder of its virtual hard disks."""
        return f"{self.folder}\\disks"

    def machine(self, name: str) -> str:
        """The name of a machine, unique between labs. Raises HypervisorError for one that cannot be a machine's."""
        if not _NAME.match(name):
            raise HypervisorError(f"machine {name}: is no name for a machine on Hyper-V")
        return f"{self.lab}.{name}"

    def switch(self, network: str) -> str:
        """The virtual switch of a network."""
        return f"{self.lab}.{network}"

    def disk(self, disk: DiskId) -> str:
        """The file of a disk. Raises HypervisorError for a name that cannot be a disk's."""
        if not _NAME.match(disk.name) or base_disk(disk.name) != disk.name:
            raise HypervisorError(f"disk {disk.name}: is no name for a disk on Hyper-V")
        return f"{self.disks}\\{disk.name}.vhdx"

    def disk_of(self, path: str) -> DiskId | None:
        """The disk whose file, or whose layer of a checkpoint, has this path; None for one that is not the lab's."""
        folder, _, file = path.rpartition("\\")
        stem, _, suffix = file.rpartition(".")
        if folder.casefold() != self.disks.casefold() or suffix.casefold() not in {"vhdx", "avhdx"} or not stem:
            return None
        return DiskId(base_disk(stem))

    def seed(self, machine: str) -> str:
        """The seed image of a machine."""
        return f"{self.folder}\\seeds\\{machine}.iso"

    def console(self, machine: str) -> str:
        """The file that records a serial console, next to whose pipe something has to write it."""
        return f"{self.folder}\\consoles\\{machine}.log"

    def pipe(self, machine: str) -> str:
        """The named pipe of a machine's serial port."""
        return f"\\\\.\\pipe\\{TAG}-{self.lab}-{machine}"


def base_disk(stem: str) -> str:
    """Return the name of a disk from the name of its file or of a layer of a checkpoint (NAME_GUID)."""
    found = _LAYER.match(stem)
    return found[1] if found else stem
