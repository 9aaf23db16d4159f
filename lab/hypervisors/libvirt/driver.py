"""The libvirt backend: composes session, storage and switches into the abilities of ``protocols.Hypervisor``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from lab.hypervisors.image import inspect_image
from lab.hypervisors.libvirt import ports
from lab.hypervisors.libvirt.describe import disk_targets, forwards_of, machine_of, ssh_port_of
from lab.hypervisors.libvirt.saving import LibvirtSaving
from lab.hypervisors.libvirt.session import Session, switched, translated
from lab.hypervisors.libvirt.storage import Storage
from lab.hypervisors.libvirt.xml import DiskFile, Placement, disk_element, domain_xml, free_target
from lab.hypervisors.model import (
    SEED_SERIAL,
    Disk,
    DiskAttachment,
    DiskId,
    Endpoint,
    Machine,
    MachineSpec,
    NetworkSource,
    PowerState,
)
from lab.hypervisors.protocols import Conflict, NotFound
from lab.networks.protocol import Switches
from lab.waiting import Deadline, wait_until


@dataclass(frozen=True)
class LibvirtHypervisor:
    """Machines, power, disks and reach of one lab on one libvirt host."""

    session: Session
    storage: Storage
    switches: Switches
    domain_type: str
    consoles: Path

    def define(self, spec: MachineSpec) -> Machine:
        """Make a machine, powered off. Raises Conflict, NotFound for a missing disk."""
        if any(self.session.name_of(domain) == spec.name for domain in self.session.domains()):
            raise Conflict(f"machine {spec.name}: exists already")
        for attachment in spec.disks:
            self._refuse_attached(attachment.disk)
        with switched(f"machine {spec.name}"):
            document = domain_xml(spec, self._placement(spec))
        with translated(f"machine {spec.name}"):
            domain = self.session.connection.defineXML(document)
        return machine_of(domain, self.session)

    def machine(self, name: str) -> Machine:
        """Return the machine. Raises NotFound."""
        return machine_of(self.session.find(name), self.session)

    def machines(self) -> Sequence[Machine]:
        """Return every machine of this lab, by name."""
        return [machine_of(domain, self.session) for domain in self.session.domains()]

    def undefine(self, name: str) -> None:
        """Forget a powered-off machine. Raises NotFound, Conflict."""
        domain = self.session.find(name)
        if domain.isActive():
            raise Conflict(f"machine {name}: is running")
        with translated(f"machine {name}"):
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)

    def power(self, name: str) -> PowerState:
        """Return the present state. Raises NotFound."""
        return self.machine(name).power

    def power_on(self, name: str) -> None:
        """Switch on and plug into the switches. Raises NotFound, HypervisorError."""
        domain = self.session.find(name)
        if not domain.isActive():
            self.wire(name)
            with translated(f"start of {name}"):
                domain.create()
        self.plug(name)

    def wire(self, name: str) -> None:
        """Have the switches ready for a machine that is about to start. Raises NotFound, HypervisorError."""
        with switched(f"machine {name}"):
            for nic in self.machine(name).nics:
                self.switches.ensure(nic.network)
                self.switches.wire(nic.network, name)

    def plug(self, name: str) -> None:
        """Plug a machine that was started into the switches. Raises NotFound, HypervisorError."""
        with switched(f"machine {name}"):
            for nic in self.machine(name).nics:
                self.switches.plug(nic.network, name)

    def power_off(self, name: str) -> None:
        """Cut the power. Raises NotFound."""
        domain = self.session.find(name)
        with suppress(Conflict), translated(f"power cut of {name}"):
            if domain.isActive():
                domain.destroy()

    def shut_down(self, name: str, deadline: Deadline) -> None:
        """Press the power button and wait. Raises NotFound, DeadlineExceeded."""
        domain = self.session.find(name)
        with suppress(Conflict), translated(f"shutdown of {name}"):
            if domain.isActive():
                domain.shutdown()
        wait_until(lambda: not domain.isActive(), deadline, f"shutdown of {name}")

    def create_disk(self, disk: DiskId, size_bytes: int) -> Disk:
        """Make an empty disk. Raises Conflict."""
        self.storage.create(disk, size_bytes)
        return self.disk(disk)

    def import_disk(self, disk: DiskId, image: Path, size_bytes: int) -> Disk:
        """Make a disk over an image of raw or qcow2 format. Raises Conflict."""
        image_format, image_bytes = inspect_image(image)
        self.storage.overlay(disk, image, image_format, max(size_bytes, image_bytes))
        return self.disk(disk)

    def clone_disk(self, source: DiskId, disk: DiskId) -> Disk:
        """Copy a raw disk as it is now. Raises NotFound, Conflict."""
        self.storage.clone(source, disk)
        return self.disk(disk)

    def create_overlay(self, disk: DiskId, source: NetworkSource, size_bytes: int) -> Disk:
        """Make a disk over an NBD export of this host. Raises Conflict, HypervisorError."""
        self.storage.network_overlay(disk, source, size_bytes)
        return self.disk(disk)

    def export_disk(self, disk: DiskId, target: Path) -> None:
        """Write a disk as it is to a raw file. Raises NotFound, HypervisorError."""
        self.storage.export(disk, target)

    def grow_disk(self, disk: DiskId, size_bytes: int) -> Disk:
        """Make a disk larger, through its machine while that runs. Raises NotFound, Conflict when larger already."""
        present = self.disk(disk)
        if size_bytes < present.size_bytes:
            raise Conflict(f"disk {disk.name}: has {present.size_bytes} bytes, which are more than {size_bytes}")
        domain = self.session.find(present.attached_to) if present.attached_to is not None else None
        if domain is not None and domain.isActive():
            with translated(f"growth of disk {disk.name} in {present.attached_to}"):
                domain.blockResize(str(self.storage.path(disk)), size_bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
            self.storage.look_again()
        elif size_bytes > present.size_bytes:
            self.storage.grow(disk, size_bytes)
        return self.disk(disk)

    def disk(self, disk: DiskId) -> Disk:
        """Return the disk. Raises NotFound."""
        volume = self.storage.find(disk)
        with translated(f"disk {disk.name}"):
            size_bytes = volume.info()[1]
        return Disk(disk, size_bytes, self._users().get(str(self.storage.path(disk))))

    def disks(self) -> Sequence[Disk]:
        """Return every disk of this lab, by name."""
        users = self._users()
        sizes = self.storage.sizes()
        return [Disk(disk, size, users.get(str(self.storage.path(disk)))) for disk, size in sizes.items()]

    def attach_disk(self, machine: str, attachment: DiskAttachment) -> None:
        """Plug a disk in, hot when the machine runs. Raises NotFound, Conflict."""
        domain = self.session.find(machine)
        self._refuse_attached(attachment.disk)
        target = free_target(set(disk_targets(self.session.document(domain)).values()))
        document = disk_element(self._file(attachment), target)
        with translated(f"disk {attachment.disk.name} into {machine}"):
            domain.attachDeviceFlags(_text(document), _live(domain))

    def detach_disk(self, machine: str, disk: DiskId, deadline: Deadline) -> None:
        """Unplug a disk and wait until the guest let go. Raises NotFound, Conflict, DeadlineExceeded."""
        domain = self.session.find(machine)
        path = str(self.storage.path(disk))
        targets = disk_targets(self.session.document(domain))
        if path not in targets:
            raise Conflict(f"disk {disk.name}: is not attached to {machine}")
        file = self._file(DiskAttachment(disk, ""))
        with translated(f"disk {disk.name} out of {machine}"):
            domain.detachDeviceFlags(_text(disk_element(file, targets[path])), _live(domain))
        wait_until(
            lambda: path not in disk_targets(self.session.document(domain)),
            deadline,
            f"release of disk {disk.name} by {machine}",
        )

    def delete_disk(self, disk: DiskId) -> None:
        """Remove a disk. Raises NotFound, Conflict while attached."""
        self._refuse_attached(disk)
        self.storage.delete(disk)

    def endpoint(self, name: str) -> Endpoint:
        """Return where SSH answers. Raises NotFound, Conflict without a management card."""
        port = ssh_port_of(self.session.document(self.session.find(name)))
        if port is None:
            raise Conflict(f"machine {name}: has no management card")
        return Endpoint("127.0.0.1", port)

    def forwarded(self, name: str, inside: int) -> Endpoint:
        """Return where another port of a machine answers. Raises NotFound, Conflict for one that is not forwarded."""
        port = forwards_of(self.session.document(self.session.find(name))).get(inside)
        if port is None:
            raise Conflict(f"machine {name}: its port {inside} is not forwarded")
        return Endpoint("127.0.0.1", port)

    def console_log(self, name: str) -> Path:
        """Return the file that records the serial console. Raises NotFound."""
        self.session.find(name)
        return self.consoles / f"{name}.log"

    @property
    def saving(self) -> LibvirtSaving:
        """The ability to save machines and to go on from there."""
        return LibvirtSaving(self.session, self.storage, self.switches)

    def remove_all(self) -> list[str]:
        """Destroy every object of the lab and return what was removed. For ``down`` and the reaper."""
        removed = []
        for machine in self.machines():
            self.power_off(machine.name)
            self.undefine(machine.name)
            removed.append(f"machine {machine.name}")
        removed += [_remove_stray(domain) for domain in self.session.strays()]
        removed += [f"disk {disk.id.name}" for disk in self.disks()]
        self.storage.remove()
        with switched(f"lab {self.session.lab}"):
            removed += self.switches.leftovers()
            self.switches.remove_all()
        return removed

    def close(self) -> None:
        """Close the connection."""
        with translated("connection"):
            self.session.connection.close()

    def _placement(self, spec: MachineSpec) -> Placement:
        self.storage.place.make_folder(self.consoles)
        files = [self._file(attachment) for attachment in spec.disks]
        if spec.seed is not None:
            files.append(DiskFile(Path(spec.seed), "raw", SEED_SERIAL, read_only=True))
        files += [DiskFile(Path(medium.path), "raw", medium.serial, read_only=True) for medium in spec.media]
        for nic in spec.nics:
            self.switches.ensure(nic.network)
        inside = spec.management.forwards if spec.management else ()
        free = ports.free_ports(self.session.connection, 1 + len(inside)) if spec.management else []
        return Placement(
            lab=self.session.lab,
            domain_type=self.domain_type,
            disks=tuple(files),
            wiring=tuple(self.switches.wire(nic.network, spec.name) for nic in spec.nics),
            ssh_port=free[0] if free else None,
            console=self.consoles / f"{spec.name}.log",
            forwards=tuple(zip(inside, free[1:], strict=True)),
        )

    def _file(self, attachment: DiskAttachment) -> DiskFile:
        self.storage.find(attachment.disk)
        disk = attachment.disk
        kind, flushed = self.storage.format(disk), self.storage.flushed
        return DiskFile(self.storage.path(disk), kind, attachment.serial, flushed=flushed)

    def _users(self) -> dict[str, str]:
        return {
            path: self.session.name_of(domain)
            for domain in self.session.domains()
            for path in disk_targets(self.session.document(domain))
        }

    def _refuse_attached(self, disk: DiskId) -> None:
        user = self.disk(disk).attached_to
        if user is not None:
            raise Conflict(f"disk {disk.name}: is attached to {user}")


def _remove_stray(domain: Any) -> str:
    """Return what was removed. A domain that was never defined is gone with its power."""
    what = f"domain {domain.name()}"
    with suppress(Conflict, NotFound), translated(what):
        domain.destroy()
    with suppress(NotFound), translated(what):
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
    return what


def _live(domain: Any) -> int:
    live = libvirt.VIR_DOMAIN_AFFECT_LIVE if domain.isActive() else 0
    return int(libvirt.VIR_DOMAIN_AFFECT_CONFIG | live)


def _text(element: Any) -> str:
    import xml.etree.ElementTree as ET

    return ET.tostring(element, encoding="unicode")
