"""The ESXi driver: composes session, storage, networks and snapshots into the abilities of ``protocols``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pyVmomi import vim

from lab.hypervisors.esxi.describe import Found
from lab.hypervisors.esxi.discovery import DiscoveryAbility
from lab.hypervisors.esxi.disks import Storage, whole_kib
from lab.hypervisors.esxi.errors import translated
from lab.hypervisors.esxi.naming import Names
from lab.hypervisors.esxi.networks import PortGroupAbility
from lab.hypervisors.esxi.session import Collector, Session
from lab.hypervisors.esxi.settings import Placement, Target
from lab.hypervisors.esxi.site import COPY_SECONDS, Site, probe
from lab.hypervisors.esxi.snapshots import SnapshotAbility
from lab.hypervisors.esxi.spec import attach_spec, config_spec, detach_spec, grow_spec
from lab.hypervisors.esxi.stub import open_stub
from lab.hypervisors.esxi.transfer import HttpsTransfer
from lab.hypervisors.model import (
    Disk,
    DiskAttachment,
    DiskId,
    Endpoint,
    InventoryEvent,
    Machine,
    MachineSpec,
    PowerState,
    Seen,
)
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound
from lab.hypervisors.turns import Turns
from lab.waiting import Deadline, DeadlineExceeded

SNAPSHOT_FOR_COPY = "recovery-lab copy"


@dataclass(frozen=True)
class EsxiHypervisor:
    """Machines, power, disks and reach of one lab on one host or vCenter; more abilities as attributes."""

    site: Site
    storage: Storage
    snapshots: SnapshotAbility
    discovery: DiscoveryAbility
    port_groups: PortGroupAbility
    consoles: Path
    turns: Turns = field(default_factory=Turns)

    def define(self, spec: MachineSpec) -> Machine:
        """Make a machine, powered off. Raises Conflict, NotFound for a missing disk."""
        if any(found.name == spec.name for found in self.site.found()):
            raise Conflict(f"machine {spec.name}: exists already")
        for attachment in spec.disks:
            self._refuse_attached(attachment.disk)
        self.storage.prepare()
        for nic in spec.nics:
            self.port_groups.ensure_network(nic.network)
        if spec.seed is not None:
            self.storage.upload_seed(spec.name, Path(spec.seed))
        host, config = self.site.host, config_spec(spec, self.site.names, self.site.placement)
        self.site.run(f"machine {spec.name}", lambda: host.machines.CreateVM_Task(config, host.pool, host.host))
        return self.machine(spec.name)

    def machine(self, name: str) -> Machine:
        """Return the machine. Raises NotFound."""
        return self.site.find(name).machine

    def machines(self) -> Sequence[Machine]:
        """Return every machine of this lab, by name, in one round trip."""
        return [found.machine for found in self.site.found()]

    def undefine(self, name: str) -> None:
        """Forget a powered-off machine; its disks stay. Raises NotFound, Conflict."""
        found = self.site.find(name)
        if found.power is not PowerState.OFF:
            raise Conflict(f"machine {name}: is running")
        if found.values.get("snapshot") is not None:
            raise Conflict(f"machine {name}: has snapshots, without which its disks cannot be read")
        self.site.require_licence(f"machine {name}")
        folder = str(found.values["config.files.vmPathName"]).partition("] ")[2].rpartition("/")[0]
        # Not Destroy_Task: that would delete the disks too.
        self.site.session.once(f"machine {name}", found.ref.UnregisterVM)
        for path in (folder, self.site.names.seed(name), self.site.names.console(name)):
            with suppress(NotFound):
                self.storage.remove_file(path)

    def power(self, name: str) -> PowerState:
        """Return the present state. Raises NotFound."""
        return self.site.find(name).power

    def power_on(self, name: str) -> None:
        """Switch on. Raises NotFound, HypervisorError."""
        found = self.site.find(name)
        if found.power is not PowerState.ON:
            self.site.run(f"start of {name}", lambda: found.ref.PowerOnVM_Task(self.site.host.host))

    def power_off(self, name: str) -> None:
        """Cut the power. Raises NotFound."""
        found = self.site.find(name)
        if found.power is PowerState.OFF:
            return
        try:
            self.site.run(f"power cut of {name}", found.ref.PowerOffVM_Task)
        except Conflict:
            if self.power(name) is not PowerState.OFF:
                raise

    def shut_down(self, name: str, deadline: Deadline) -> None:
        """Ask the guest and wait. Raises NotFound, DeadlineExceeded, HypervisorError without tools in the guest."""
        found = self.site.find(name)
        if found.power is PowerState.OFF:
            return
        self.site.require_licence(f"shutdown of {name}")
        with suppress(Conflict), translated(f"shutdown of {name}"):
            found.ref.ShutdownGuest()
        path = "runtime.powerState"
        off, what = vim.VirtualMachine.PowerState.poweredOff, f"power of {name}"
        objects = lambda: [Collector.ObjectSpec(obj=found.ref)]  # noqa: E731 - typed
        for batch in self.site.session.updates(objects, vim.VirtualMachine, [path], deadline, what):
            if any(values.get(path) == off for _, _, values in batch.changes):
                return
        raise DeadlineExceeded(f"no shutdown of {name} within {deadline.seconds:.0f} s")

    def create_disk(self, disk: DiskId, size_bytes: int) -> Disk:
        """Make an empty disk. Raises Conflict."""
        self.storage.create(disk, size_bytes)
        return Disk(disk, size_bytes, None)

    def import_disk(self, disk: DiskId, image: Path, size_bytes: int) -> Disk:
        """Make a disk with the content of a raw or qcow2 image. Raises Conflict."""
        return Disk(disk, self.storage.upload(disk, image, size_bytes), None)

    def clone_disk(self, source: DiskId, disk: DiskId) -> Disk:
        """Copy a disk as it is now; one in use is frozen by a snapshot meanwhile. Raises NotFound, Conflict."""
        original = self.disk(source)
        if disk in self.storage.present():
            raise Conflict(f"disk {disk.name}: exists already")
        user = self.site.find(original.attached_to) if original.attached_to is not None else None
        if user is not None and user.power is not PowerState.OFF:
            self._copy_frozen(user, source, disk)
        elif user is not None:
            self.storage.copy(user.device_of(source).backing.fileName, disk)
        else:
            self.storage.copy(self.site.names.whole(self.site.names.disk_file(source)), disk)
        return Disk(disk, original.size_bytes, None)

    def grow_disk(self, disk: DiskId, size_bytes: int) -> Disk:
        """Make a disk larger, through the machine that has it. Raises NotFound, Conflict when larger already."""
        present = self.disk(disk)
        if size_bytes < present.size_bytes:
            raise Conflict(f"disk {disk.name}: has {present.size_bytes} bytes, which are more than {size_bytes}")
        if size_bytes == present.size_bytes:
            return present
        if present.attached_to is None:
            self.storage.grow(disk, size_bytes)
        else:
            found = self.site.find(present.attached_to)
            spec = grow_spec(found.device_of(disk), whole_kib(disk, size_bytes))
            self.site.run(f"growth of disk {disk.name} in {found.name}", lambda: found.ref.ReconfigVM_Task(spec))
        return self.disk(disk)

    def disk(self, disk: DiskId) -> Disk:
        """Return the disk. Raises NotFound."""
        size = self.storage.size(disk)
        return Disk(disk, size, self._users().get(disk))

    def disks(self) -> Sequence[Disk]:
        """Return every disk of this lab, by name."""
        sizes, users = self.storage.sizes(), self._users()
        return [Disk(disk, sizes[disk], users.get(disk)) for disk in sorted(sizes, key=lambda each: each.name)]

    def attach_disk(self, machine: str, attachment: DiskAttachment) -> None:
        """Plug a disk in, hot when the machine runs. Raises NotFound, Conflict."""
        found = self.site.find(machine)
        self._refuse_attached(attachment.disk)
        spec = attach_spec(found.devices, attachment, self.site.names)
        what = f"disk {attachment.disk.name} into {machine}"
        self.site.run(what, lambda: found.ref.ReconfigVM_Task(spec))

    def detach_disk(self, machine: str, disk: DiskId, deadline: Deadline) -> None:
        """Unplug a disk. Raises NotFound, Conflict, DeadlineExceeded."""
        found = self.site.find(machine)
        device = found.device_of(disk)
        if device is None:
            raise Conflict(f"disk {disk.name}: is not attached to {machine}")
        spec = detach_spec(device)
        self.site.run(f"disk {disk.name} out of {machine}", lambda: found.ref.ReconfigVM_Task(spec), deadline)

    def delete_disk(self, disk: DiskId) -> None:
        """Remove a disk. Raises NotFound, Conflict while attached."""
        self._refuse_attached(disk)
        self.storage.delete(disk)

    def endpoint(self, name: str) -> Endpoint:
        """Return where SSH answers. Raises NotFound, Conflict without a management card, HypervisorError."""
        found, placement = self.site.find(name), self.site.placement
        management = frozenset({placement.management, placement.management_with_host})
        if not found.managed(management):
            raise Conflict(f"machine {name}: has no management card")
        endpoint = found.endpoint(management)
        if endpoint is None:
            raise HypervisorError(f"machine {name}: the host knows no address of its management card yet")
        return endpoint

    def console_log(self, name: str) -> Path:
        """Fetch the file that records the serial console and return where it is now. Raises NotFound."""
        self.site.find(name)
        self.consoles.mkdir(parents=True, exist_ok=True)
        copy = self.consoles / f"{name}.log"
        try:
            content = self.site.files.read_whole(self.site.names.console(name))
        except NotFound:
            content = b""  # never started
        copy.write_bytes(content)
        return copy

    def remove_all(self) -> list[str]:
        """Destroy every object of the lab and return what was removed. For ``down`` and the reaper."""
        removed = []
        for found in self.site.found():
            self.power_off(found.name)
            if found.values.get("snapshot") is not None:
                self.site.run(f"snapshots of {found.name}", found.ref.RemoveAllSnapshots_Task)
            self.undefine(found.name)
            removed.append(f"machine {found.name}")
        for disk in self.storage.present():
            self.storage.delete(disk)
            removed.append(f"disk {disk.name}")
        for network in self.port_groups.networks():
            self.port_groups.remove_network(network)
        self.storage.remove_folder()
        return removed

    def close(self) -> None:
        """Log out; machines keep running."""
        self.site.session.close()

    def follow(self, deadline: Deadline) -> Iterator[InventoryEvent]:
        """Yield what comes, changes and goes in the inventory (``protocols.Discovery``)."""
        return self.discovery.follow(deadline)

    @property
    def vcenter(self) -> bool:
        """Whether a vCenter answers, not a stand-alone host."""
        return self.site.host.vcenter

    def watch(self, deadline: Deadline) -> Iterator[Sequence[Seen]]:
        """Yield the whole inventory after every change (``protocols.Discovery``)."""
        return self.discovery.watch(deadline)

    def _users(self) -> dict[DiskId, str]:
        return {disk: found.name for found in self.site.found() for disk, _ in found.disks}

    def _refuse_attached(self, disk: DiskId) -> None:
        self.storage.require(disk)
        user = self._users().get(disk)
        if user is not None:
            raise Conflict(f"disk {disk.name}: is attached to {user}")

    def _copy_frozen(self, user: Found, source: DiskId, disk: DiskId) -> None:
        # In turn: the removal of a snapshot merges files of all disks, also those that others are reading.
        with self.turns.of(user.name, Deadline.after(COPY_SECONDS)):
            snapshot = self.snapshots.create_snapshot(user.name, SNAPSHOT_FOR_COPY)
            try:
                self.storage.copy(self.snapshots.frozen_file(snapshot, source), disk)
            finally:
                self.snapshots.remove_snapshot(snapshot)


def connect(target: Target, lab: str, store: Path, placement: Placement | None = None) -> EsxiHypervisor:
    """Open the driver of one lab; ``store`` is a folder of this machine for consoles.

    Raises:
        HypervisorError: the host does not answer, is not trusted or refuses the login.
        NotFound: it has no such datacenter, datastore or host.
    """
    session = Session(open_stub(target), target.user, target.password)
    try:
        session.open()
        chosen = placement or Placement()
        host = probe(session, chosen)
    except HypervisorError:
        session.close()
        raise
    files = HttpsTransfer(target, host.datacenter_name, host.datastore_name)
    return compose(Site(session, host, Names(lab, host.datastore_name), chosen, files), store)


def compose(site: Site, store: Path) -> EsxiHypervisor:
    """Return the driver over a site that is connected."""
    return EsxiHypervisor(
        site=site,
        storage=Storage(site),
        snapshots=SnapshotAbility(site),
        discovery=DiscoveryAbility(site),
        port_groups=PortGroupAbility(site),
        consoles=store / site.names.lab / "consoles",
    )
