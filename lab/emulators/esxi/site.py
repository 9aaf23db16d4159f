"""What the parts of one emulated host share: its registry, its datastore, its backend, its networks and machines."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from lab.emulators.esxi.backend import Backend, BackendError, Link, SwitchLink, UserLink
from lab.emulators.esxi.datastore_paths import DatastoreFolder
from lab.emulators.esxi.registry import Managed, Registry
from lab.emulators.esxi.tasks import TaskManager

if TYPE_CHECKING:
    from lab.emulators.esxi.machine import VirtualMachine

FIRST_PORT, LAST_PORT = 20000, 20999
"""Below the ports that the libvirt driver hands out."""


@dataclass(frozen=True)
class UserNetwork:
    """A port group whose cards reach nothing but lend this host a way to the guest's SSH server."""

    name: str
    restricted: bool


@dataclass
class Site:
    """One host. ``lab``: port groups named ``LAB.NETWORK`` are the switches of that lab's networks."""

    registry: Registry
    tasks: TaskManager
    backend: Backend
    folder: DatastoreFolder
    lab: str
    user_networks: tuple[UserNetwork, ...]
    datastore: Any = None
    host: Any = None
    pool: Any = None
    vcenter: bool = False
    networks: dict[str, Managed] = field(default_factory=dict)
    machines: list[VirtualMachine] = field(default_factory=list)
    most_areas: int = 2000
    """Areas that one answer of QueryChangedDiskAreas holds at most: who reads it has to loop."""
    unplug_seconds: float = 120.0

    def machine_identity(self) -> str:
        """Return the identity of a new machine: a plain number on a host (libvirt insists), vm-N on a vCenter."""
        number = self.registry.number()
        return f"vm-{number}" if self.vcenter else str(number)

    def link(self, network: str, port: int | None) -> Link:
        """Return where a card on a port group leads. Raises InvalidDeviceBacking when there is no such port group."""
        if network not in self.networks:
            raise vim.fault.InvalidDeviceSpec(
                property="backing.deviceName", deviceIndex=0, msg=f"There is no network '{network}'"
            )
        user = next((item for item in self.user_networks if item.name == network), None)
        if user is not None:
            return UserLink(port or self.free_port(), user.restricted)
        return SwitchLink(network.removeprefix(f"{self.lab}."))

    def free_port(self) -> int:
        """Return a port of loopback that no machine here was given and nobody listens on. Raises BackendError."""
        taken = {machine.ssh_port for machine in self.machines}
        for port in random.sample(range(FIRST_PORT, LAST_PORT + 1), 200):
            if port not in taken and _free(port):
                return port
        raise BackendError(f"no free port between {FIRST_PORT} and {LAST_PORT}")

    def in_use(self, file: Path) -> bool:
        """Whether a running machine holds a file."""
        return any(file in machine.held_files() for machine in list(self.machines))

    def attached(self, descriptor: Path) -> bool:
        """Whether any machine has a layer in one of its disks, running or not."""
        return any(descriptor in machine.descriptors() for machine in list(self.machines))


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
