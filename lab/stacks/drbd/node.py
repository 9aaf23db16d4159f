"""One machine of a pair: DRBD's commands there, and the file system on its device."""

from __future__ import annotations

from dataclasses import dataclass

from lab.provision.lab import LabMachine
from lab.stacks.drbd.resource import DEVICE, Node, Resource, by_serial
from lab.stacks.drbd.status import Side, parse

STATUS = "/proc/drbd"
COMMAND_SECONDS = 120.0
MOUNTED_AT_START = "/etc/lab-disks"
"""What a machine of the lab mounts when it starts, a line for each disk: serial, UUID, kind, mount."""
KEPT = f"{MOUNTED_AT_START}.before-drbd"


@dataclass(frozen=True)
class Machine:
    """A machine with its part of a resource. Every method raises CommandFailed, ConnectionLost, DeadlineExceeded."""

    machine: LabMachine
    node: Node
    resource: Resource

    def side(self) -> Side | None:
        """Return DRBD's view from here; None without power, or when the resource is not up."""
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

    def release(self) -> None:
        """Take the disk out of what is mounted, now and at the next start."""
        ssh, mount = self.machine.ssh, self.resource.mount
        ssh.check("cp", "--no-clobber", MOUNTED_AT_START, KEPT)
        kept = ssh.check("cat", KEPT).splitlines()
        others = [line for line in kept if line.split()[:1] != [self.node.disk]]
        ssh.put("".join(f"{line}\n" for line in others).encode(), MOUNTED_AT_START)
        if ssh.run("mountpoint", "--quiet", mount).ok:
            ssh.check("umount", mount, seconds=COMMAND_SECONDS)

    def give_back(self) -> None:
        """Mount the disk itself again, now and at every start."""
        ssh, resource = self.machine.ssh, self.resource
        ssh.check("mv", KEPT, MOUNTED_AT_START)
        ssh.check("mount", "-o", "noatime", "-t", resource.filesystem, by_serial(self.node.disk), resource.mount)

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
