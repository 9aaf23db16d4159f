"""Replica machines in Azure, made of one recovery point: an overlay over each blob snapshot, no copy (seed L78)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Management, Nic, PowerState
from lab.hypervisors.protocols import CloudHypervisor, Conflict, NotFound
from lab.hypervisors.public import PublicAddress, PublicAddresses
from lab.replication.vault.exports import Exports
from lab.replication.vault.storage import BlobSource
from lab.waiting import Deadline

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}-(replica|test)\Z")
SHUTDOWN_S = 120.0


@dataclass(frozen=True)
class VmDisk:
    """A disk of a machine: the snapshot that it starts as; without one it is empty."""

    name: str
    serial: str
    size: int
    source: BlobSource | None


@dataclass(frozen=True)
class VmOrder:
    """A machine that is wanted. The first disk is booted; ``cards`` are (network, MAC)."""

    name: str
    cpus: int
    memory_mib: int
    disks: tuple[VmDisk, ...]
    cards: tuple[tuple[str, str], ...]
    management_mac: str | None
    public: PublicAddress | None = None


@dataclass(frozen=True)
class Compute:
    """Makes and removes machines whose names say that they are replicas; blocking, and idempotent.

    Without ``addresses`` the region has no public ones.
    """

    hypervisor: CloudHypervisor
    exports: Exports
    addresses: PublicAddresses | None = None

    def create(self, order: VmOrder) -> None:
        """Make a machine and switch it on; one of that name is removed first. Raises HypervisorError."""
        if order.public is not None and self.addresses is None:
            raise Conflict(f"{order.name}: there are no public addresses in this region")
        self.remove(order.name)
        sources = {disk.name: disk.source for disk in order.disks if disk.source is not None}
        served = self.exports.serve(order.name, sources)
        try:
            for disk in order.disks:
                made = _disk_id(order.name, disk.name)
                if disk.source is None:
                    self.hypervisor.create_disk(made, disk.size)
                else:
                    self.hypervisor.create_overlay(made, served[disk.name], disk.size)
            self.hypervisor.define(_spec(order))
            self.hypervisor.power_on(order.name)
            if order.public is not None and self.addresses is not None:
                self.addresses.assign(order.name, order.public)
        except Exception:
            self.remove(order.name)
            raise

    def state(self, name: str) -> dict[str, Any] | None:
        """Return ``{state, disks, nics}`` of a machine, None when there is none. Raises HypervisorError."""
        try:
            machine = self.hypervisor.machine(name)
        except NotFound:
            return None
        return {
            "state": machine.power.value,
            "disks": [{"name": item.disk.name, "serial": item.serial} for item in machine.disks],
            "nics": [{"network": nic.network, "mac": nic.mac} for nic in machine.nics],
        }

    def switch(self, name: str, action: str) -> None:
        """Switch a machine: ``on``, ``off`` or ``shutdown``. Raises NotFound, HypervisorError, DeadlineExceeded."""
        if action == "on":
            self.hypervisor.power_on(name)
        elif action == "off":
            self.hypervisor.power_off(name)
        else:
            self.hypervisor.shut_down(name, Deadline.after(SHUTDOWN_S))

    def remove(self, name: str) -> None:
        """Remove a machine with its disks and public address, whatever of it there is. Raises HypervisorError."""
        if self.addresses is not None:
            self.addresses.release(name)
        try:
            self.hypervisor.power_off(name)
            self.hypervisor.undefine(name)
        except NotFound:
            pass
        prefix = _disk_id(name, "").name
        for disk in self.hypervisor.disks():
            if disk.id.name.startswith(prefix):
                self.hypervisor.delete_disk(disk.id)
        self.exports.end(name)

    def export(self, name: str, folder: Path) -> None:
        """Write the disks of a machine to ``DISK.raw`` in a folder. Raises NotFound, HypervisorError."""
        prefix = _disk_id(name, "").name
        for attachment in self.hypervisor.machine(name).disks:
            disk = attachment.disk.name.removeprefix(prefix)
            self.hypervisor.export_disk(attachment.disk, folder / f"{disk}.raw")

    def running(self) -> Sequence[str]:
        """Return the machines that this has made and that are on."""
        machines = self.hypervisor.machines()
        return [each.name for each in machines if NAME.match(each.name) and each.power is not PowerState.OFF]

    def close(self) -> None:
        """Release the hypervisor and end what is served."""
        self.exports.close()
        self.hypervisor.close()


def _disk_id(machine: str, disk: str) -> DiskId:
    return DiskId(f"azure-{machine}-{disk}")


def _spec(order: VmOrder) -> MachineSpec:
    return MachineSpec(
        name=order.name,
        cpus=order.cpus,
        memory_mib=order.memory_mib,
        disks=tuple(DiskAttachment(_disk_id(order.name, disk.name), disk.serial) for disk in order.disks),
        nics=tuple(Nic(network, mac) for network, mac in order.cards),
        management=Management(order.management_mac) if order.management_mac else None,
    )


def checked_name(value: object) -> str:
    """Return the name of a machine that may be made. Raises Conflict for one that does not belong to a replica."""
    if not isinstance(value, str) or not NAME.match(value):
        raise Conflict(f"{value!r} is no name of a replica machine")
    return value
