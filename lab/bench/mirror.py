"""DRBD 8.4 between a protected machine and its master target, on disks of its own: a peer, and a limit.

Set up as an administrator would for the fastest first copy: a fixed rate that nothing reaches, large buffers, external
metadata (so the disk holds what it held before), no checks of its own. It neither encrypts nor compresses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from lab.bench.equipped import metadata_disk, mirror_disk
from lab.errors import LabError
from lab.machines.ssh import SshTransport
from lab.provision.lab import Lab
from lab.stacks.addresses import address_towards
from lab.stacks.drbd.node import STATUS
from lab.stacks.drbd.resource import by_serial
from lab.stacks.drbd.status import Side, parse
from lab.topology.naming import disk_serial
from lab.waiting import Deadline, wait_until

FIRST_PORT = 7790
COMMAND_SECONDS = 120.0
FORMAT_SECONDS = 300.0
BLOCK = 4096
CONNECT_SECONDS = 120.0
SYNCHRONISE_SECONDS = 1800.0
POLL_SECONDS = 0.5
SYNCHRONOUS, ASYNCHRONOUS = "C", "A"


@dataclass(frozen=True)
class End:
    """One of the two machines."""

    name: str
    address: str
    ssh: SshTransport


@dataclass(frozen=True)
class Mirror:
    """One mirrored disk. ``minor``: its number on both machines."""

    minor: int
    source: End
    target: End

    @property
    def name(self) -> str:
        """DRBD's name of it."""
        return f"bench-{self.source.name}"

    @property
    def disk(self) -> str:
        """The disk below, which has the same name on both machines."""
        return by_serial(disk_serial(mirror_disk(self.source.name)))

    @property
    def device(self) -> str:
        """What is written through."""
        return f"/dev/drbd{self.minor}"

    @property
    def ends(self) -> tuple[End, End]:
        """Both machines."""
        return self.source, self.target

    def text(self, protocol: str) -> str:
        """Return the configuration of both machines (drbd.conf(5), 8.4)."""
        metadata = by_serial(disk_serial(metadata_disk(self.source.name)))
        nodes = "".join(
            f"  on {end.name} {{\n    device {self.device} minor {self.minor};\n    disk {self.disk};\n"
            f"    flexible-meta-disk {metadata};\n    address {end.address}:{FIRST_PORT + self.minor};\n  }}\n"
            for end in self.ends
        )
        return (
            f"resource {self.name} {{\n"
            f"  net {{\n    protocol {protocol};\n    max-buffers 8000;\n    max-epoch-size 8000;\n"
            "    timeout 90;\n    ping-timeout 100;\n    connect-int 10;\n    ping-int 10;\n    ko-count 0;\n  }\n"
            "  disk {\n    on-io-error detach;\n    c-plan-ahead 0;\n    resync-rate 1000M;\n  }\n"
            f"{nodes}}}\n"
        )


def mirror_of(lab: Lab, name: str, minor: int = 0) -> Mirror:
    """Return the mirror of a protected machine of an equipped lab. Raises BadInput."""
    topology = lab.topology
    target = topology.master_target_of(name)
    addresses = {
        name: address_towards(topology, topology.machines[target].interfaces, name),
        target: address_towards(topology, topology.machines[name].interfaces, target),
    }
    source, other = (End(one, address, lab.machine(one).ssh) for one, address in addresses.items())
    return Mirror(minor, source, other)


@contextmanager
def connected(mirror: Mirror, protocol: str) -> Iterator[None]:
    """Have DRBD set up and connected inside the block, nothing copied yet; nothing of it stays. Raises LabError."""
    try:
        for end in mirror.ends:
            end.ssh.put(mirror.text(protocol).encode("ascii"), _file(mirror), mode=0o600)
            end.ssh.check("modprobe", "drbd")
            end.ssh.check("drbdadm", "create-md", "--force", mirror.name, seconds=COMMAND_SECONDS)
        for end in mirror.ends:
            end.ssh.check("drbdadm", "up", mirror.name, seconds=COMMAND_SECONDS)
        _wait(mirror, lambda side: side.connection == "Connected", CONNECT_SECONDS, "connection of both sides")
        yield
    finally:
        for end in mirror.ends:
            _take_off(mirror, end.ssh)


def synchronise(mirror: Mirror) -> float:
    """Make the source primary and return the seconds until the other side has everything. Raises LabError."""
    begin = time.monotonic()
    promote(mirror)
    wait_whole(mirror)
    return time.monotonic() - begin


def promote(mirror: Mirror) -> None:
    """Make the source primary, which begins the first copy. Raises CommandFailed."""
    mirror.source.ssh.check("drbdadm", "primary", "--force", mirror.name, seconds=COMMAND_SECONDS)


def wait_whole(mirror: Mirror) -> None:
    """Wait for the end of the first copy. Raises DeadlineExceeded."""
    _wait(mirror, lambda side: side.whole, SYNCHRONISE_SECONDS, "end of the first copy")


def format_device(ssh: SshTransport, device: str, *size: str) -> None:
    """Make a file system that is whole at once: nothing writes in the background later. Raises CommandFailed."""
    eager = ("-E", "lazy_itable_init=0,lazy_journal_init=0")
    ssh.check("mkfs.ext4", "-q", "-F", "-b", str(BLOCK), *eager, device, *size, seconds=FORMAT_SECONDS)


@contextmanager
def mounted(ssh: SshTransport, device: str, folder: str) -> Iterator[None]:
    """Have a file system mounted inside the block. Raises CommandFailed."""
    ssh.check("mkdir", "-p", folder)
    ssh.check("mount", "-o", "noatime", device, folder)
    try:
        yield
    finally:
        ssh.check("umount", folder, seconds=COMMAND_SECONDS)


def _wait(mirror: Mirror, reached: Callable[[Side], bool], seconds: float, what: str) -> None:
    """Wait for a state of the source's side. Raises DeadlineExceeded with the last one."""
    last = ["nothing"]

    def there() -> bool:
        status = mirror.source.ssh.check("cat", STATUS)
        last[0] = status
        side = parse(status, mirror.minor)
        return side is not None and reached(side)

    wait_until(there, Deadline.after(seconds), f"{what} of {mirror.name}", every=POLL_SECONDS, explain=lambda: last[0])


def _file(mirror: Mirror) -> str:
    return f"/etc/drbd.d/{mirror.name}.res"


def _take_off(mirror: Mirror, ssh: SshTransport) -> None:
    """Leave nothing behind. What fails is not told: whatever went wrong before has the reason, and is told."""
    with suppress(LabError, TimeoutError):
        ssh.run("drbdadm", "down", mirror.name, seconds=COMMAND_SECONDS)
        # As an option of drbdmeta's: drbdadm has none for this.
        ssh.run("drbdadm", "--", "--force", "wipe-md", mirror.name, seconds=COMMAND_SECONDS)
        ssh.run("rm", "-f", _file(mirror))
