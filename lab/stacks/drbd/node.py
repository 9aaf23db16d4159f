"""One machine of a pair: DRBD's commands there, and the file system on its device."""

from __future__ import annotations

from dataclasses import dataclass

from lab.provision.lab import LabMachine
from lab.stacks.drbd.resource import DEVICE, Node, Resource
from lab.stacks.drbd.status import Side, parse

STATUS = "/proc/drbd"
COMMAND_SECONDS = 120.0
NOTHING_FOUND = 2
"""How blkid ends on a blank device."""


@dataclass(frozen=True)
class Machine:
    """A machine with its part of a resource. Every method raises CommandFailed, ConnectionLost, DeadlineExceeded."""

    machine: LabMachine
    node: Node
    resource: Resource

    def side(self) -> Side | None:
        """Return DRBD's view from here; None when the machine has no power, or the resource is not up."""
        if not self.machine.running:
            return None
        status = self.machine.ssh.run("cat", STATUS)
        return parse(status.stdout) if status.ok else None

    @property
    def configured(self) -> bool:
        """Whether the configuration is in place."""
        return self.machine.ssh.run("test", "-s", self._file).ok

    def configure(self, secret: str) -> None:
        """Write the configuration, which nobody else may read, and load the module."""
        self.machine.ssh.put(self.resource.text(secret).encode("ascii"), self._file, mode=0o600)
        self.load()

    def load(self) -> None:
        """Load the module; one resource may use it more often than once without harm."""
        self.machine.ssh.check("modprobe", "drbd")

    def drbdadm(self, *arguments: str) -> None:
        """Run one command on the resource."""
        self.machine.ssh.check("drbdadm", *arguments, self.resource.name, seconds=COMMAND_SECONDS)

    def format(self) -> None:
        """Make the file system on DRBD's device, unless there is one already."""
        if self.machine.ssh.run("blkid", "--probe", DEVICE).status == NOTHING_FOUND:
            self.machine.ssh.check(f"mkfs.{self.resource.filesystem}", "-q", DEVICE, seconds=COMMAND_SECONDS)

    def mount(self) -> None:
        """Mount DRBD's device; a journal of the file system is replayed."""
        ssh, resource = self.machine.ssh, self.resource
        ssh.check("mkdir", "-p", resource.mount)
        options = ("-o", "noatime", "-t", resource.filesystem)
        ssh.check("mount", *options, DEVICE, resource.mount, seconds=COMMAND_SECONDS)

    def unmount(self) -> None:
        """Unmount DRBD's device. Raises CommandFailed while something uses it."""
        self.machine.ssh.check("umount", self.resource.mount, seconds=COMMAND_SECONDS)

    @property
    def _file(self) -> str:
        return f"/etc/drbd.d/{self.resource.name}.res"
