"""The libvirt driver on a host that is a machine of the lab, reached over SSH.

Disks are qcow2, which alone can track changes. Images are not copied: they are read-only disks of the host,
below which an overlay is made. The host belongs to the lab alone, so every machine on it is the lab's, also those that
the stack has made there.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import libvirt

from lab.errors import LabError
from lab.hypervisors.image import inspect_image
from lab.hypervisors.libvirt.driver import LibvirtHypervisor
from lab.hypervisors.libvirt.session import Session, silence_library, translated
from lab.hypervisors.libvirt.storage import SUFFIX, Storage
from lab.hypervisors.libvirt.xml import QCOW2, domain_name, volume_xml
from lab.hypervisors.model import Disk, DiskId, Endpoint, Machine, MachineSpec, Nic, image_serial
from lab.hypervisors.nested.connection import ReopenedConnection
from lab.hypervisors.nested.host import (
    BY_SERIAL,
    CONSOLES,
    DISKS,
    SEEDS,
    Access,
    HostBridges,
    HostFolders,
    Shell,
    bridge_name,
    forwarding,
)
from lab.hypervisors.nested.reach import uri_of, write_command
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound

FORWARD = "net.ipv4.ip_forward=1"


@dataclass(frozen=True)
class HostSession(Session):
    """Sees every machine of the host: those of the lab by their names in it, all others by their own."""

    def find(self, machine: str) -> Any:
        """Return the domain of a machine. Raises NotFound."""
        with suppress(NotFound), translated(f"machine {machine}"):
            return self.connection.lookupByName(domain_name(self.lab, machine))
        with translated(f"machine {machine}"):
            return self.connection.lookupByName(machine)

    def domains(self) -> list[Any]:
        """Return all domains, ordered by machine name."""
        with translated("list of machines"):
            found = self.connection.listAllDomains()
        return sorted(found, key=self.name_of)

    def name_of(self, domain: Any) -> str:
        """Return what the lab calls the machine of a domain."""
        return str(domain.name()).removeprefix(domain_name(self.lab, ""))


@dataclass(frozen=True)
class HostStorage(Storage):
    """The lab's pool on the host; every disk is qcow2."""

    @property
    def flushed(self) -> bool:
        """Whether machines' flushes are to reach the host's disk: suites cut the power of such a host."""
        return True

    def create(self, disk: DiskId, size_bytes: int) -> None:
        """Make an empty disk. Raises Conflict."""
        document = volume_xml(f"{disk.name}{SUFFIX}", size_bytes, kind=QCOW2)
        with translated(f"disk {disk.name}"):
            self.pool().createXML(document, 0)

    def format(self, disk: DiskId) -> str:  # noqa: ARG002 - all are
        """Return "qcow2"."""
        return QCOW2

    def sizes(self) -> dict[DiskId, int]:
        """Return the capacity in bytes of every disk, those that the stack has made under their whole names."""
        pool = self.pool()
        with translated(f"pool {self.pool_name}"):
            pool.refresh(0)
            volumes = sorted((volume.name(), volume.info()[1]) for volume in pool.listAllVolumes())
        return {DiskId(name.removesuffix(SUFFIX)): size for name, size in volumes if not name.endswith(".hrl")}


@dataclass(frozen=True)
class NestedHypervisor(LibvirtHypervisor):
    """Machines, power, disks and reach of one lab on one host that is a machine itself."""

    access: Access
    shell: Shell
    fetched: Path
    """Where consoles are copied to."""

    def define(self, spec: MachineSpec) -> Machine:
        """Make a machine, powered off; its management card goes on the host's bridge. Raises Conflict, NotFound."""
        nics = spec.nics
        if spec.management is not None:
            nics = (Nic(self.access.management, spec.management.mac), *nics)
        seed = self._send_seed(spec)
        return super().define(replace(spec, nics=nics, management=None, seed=seed))

    def import_disk(self, disk: DiskId, image: Path, size_bytes: int) -> Disk:
        """Make a disk over an image, which the host has as a disk of its own. Raises Conflict."""
        image_format, image_bytes = inspect_image(image)
        device = Path(BY_SERIAL.format(serial=image_serial(image)))
        self.storage.overlay(disk, device, image_format, max(size_bytes, image_bytes))
        return self.disk(disk)

    def disks(self) -> list[Disk]:
        """Return every disk on the host, by name."""
        users = self._users()
        return [
            Disk(disk, size, users.get(str(self.storage.path(disk))) or users.get(str(DISKS / disk.name)))
            for disk, size in self.storage.sizes().items()
        ]

    def endpoint(self, name: str) -> Endpoint:
        """Return where SSH answers. Raises NotFound, Conflict without a management card."""
        self.session.find(name)
        origins = [each.name for each in self.access.inner if name == each.name or name.startswith(f"{each.name}-")]
        if not origins:
            raise Conflict(f"machine {name}: has no management card that {self.access.name} leads to")
        return self.access.ports[max(origins, key=len)]

    def console_log(self, name: str) -> Path:
        """Copy the record of the serial console here and return it; of a host that is away, the copy from before."""
        self.fetched.mkdir(parents=True, exist_ok=True)
        copy = self.fetched / f"{name}.log"
        try:
            source = self.session.document(self.session.find(name)).find("devices/serial/source")
            if source is not None:
                copy.write_bytes(self.shell.get(source.get("path", "")))
        except (LabError, HypervisorError):
            if not copy.exists():
                raise NotFound(f"machine {name}: its console cannot be read") from None
        return copy

    def _send_seed(self, spec: MachineSpec) -> str | None:
        if spec.seed is None:
            return None
        self.storage.place.make_folder(SEEDS)
        path = SEEDS / Path(spec.seed).name
        # It holds a private key; libvirt gives it to QEMU's user when the machine starts.
        self.shell.put(Path(spec.seed).read_bytes(), str(path), mode=0o600)
        return str(path)


def connect(access: Access, shell: Shell, lab: str, store: Path) -> NestedHypervisor:
    """Return the driver of a host. Nothing is connected before the first call."""
    silence_library()

    def open_now() -> Any:
        connection = libvirt.open(uri_of(access, write_command(access)))
        shell.check("sysctl", "-q", "-w", FORWARD)
        shell.check("nft", "-f", "-", stdin=forwarding(access.inner, bridge_name(access.management)))
        return connection

    session = HostSession(ReopenedConnection(access.name, open_now), lab)
    return NestedHypervisor(
        session=session,
        storage=HostStorage(session, DISKS, HostFolders(shell)),
        switches=HostBridges(),
        # Translation inside of translation is of no use (facts: over 80 s for a bare kernel).
        domain_type="kvm",
        consoles=CONSOLES,
        access=access,
        shell=shell,
        fetched=store / lab / "consoles",
    )
