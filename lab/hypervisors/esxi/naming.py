"""Names on the host. A lab's tag is in the extraConfig of its machines and in the name of its folder and networks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab.hypervisors.model import DiskId
from lab.hypervisors.protocols import HypervisorError

LAB_KEY = "recovery-lab.lab"
MACHINE_KEY = "recovery-lab.machine"
SSH_KEY = "guestinfo.recovery-lab.ssh"
"""Where an emulated host publishes how a machine's SSH server is reached."""
_DISK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,78}\Z")
_OF_A_DISK = re.compile(r"-(\d{6}|flat|ctk|delta|sesparse|rdmp?|s\d{3})\Z")


@dataclass(frozen=True)
class Names:
    """How the objects of one lab are called on one datastore."""

    lab: str
    datastore: str

    @property
    def folder(self) -> str:
        """The lab's folder in the datastore."""
        return f"recovery-lab-{self.lab}"

    def machine(self, name: str) -> str:
        """The inventory name of a machine, unique between labs."""
        return f"{self.lab}.{name}"

    def network(self, name: str) -> str:
        """The port group of a network."""
        return f"{self.lab}.{name}"

    def disk_file(self, disk: DiskId) -> str:
        """Path of a disk's descriptor in the datastore. Raises HypervisorError for a name that cannot be a disk's."""
        if not _DISK.match(disk.name) or _OF_A_DISK.search(disk.name):
            raise HypervisorError(f"disk {disk.name}: is no name for a disk on ESXi")
        return f"{self.folder}/disks/{disk.name}.vmdk"

    def flat_file(self, disk: DiskId) -> str:
        """Path of a disk's content."""
        return self.disk_file(disk).removesuffix(".vmdk") + "-flat.vmdk"

    def console(self, machine: str) -> str:
        """Path of the file that records a serial console."""
        return f"{self.folder}/consoles/{machine}.log"

    def seed(self, machine: str) -> str:
        """Path of a machine's seed image."""
        return f"{self.folder}/seeds/{machine}.iso"

    def whole(self, path: str) -> str:
        """A datastore path with the datastore's name."""
        return f"[{self.datastore}] {path}"

    def disk_of(self, file: str) -> DiskId | None:
        """The disk whose descriptor has this path with datastore, or None for a file that is no disk of the lab."""
        prefix = self.whole(f"{self.folder}/disks/")
        name = file.removeprefix(prefix).removesuffix(".vmdk")
        if not file.startswith(prefix) or "/" in name or _OF_A_DISK.search(name):
            return None
        return DiskId(name)


def serial_key(controller: int, unit: int) -> str:
    """Return the key that holds the serial of the disk at a place; only an emulated host shows it to the guest."""
    return f"recovery-lab.serial.{controller}:{unit}"
