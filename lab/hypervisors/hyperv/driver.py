"""The Hyper-V driver: composes session, storage, switches and checkpoints into the abilities of ``protocols``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.hypervisors.hyperv.checkpoints import CheckpointAbility
from lab.hypervisors.hyperv.connect import protocol_to
from lab.hypervisors.hyperv.definition import attach, new_machine, parts
from lab.hypervisors.hyperv.describe import Found
from lab.hypervisors.hyperv.disks import COPY_SECONDS, Storage
from lab.hypervisors.hyperv.naming import Names
from lab.hypervisors.hyperv.networks import SwitchAbility
from lab.hypervisors.hyperv.script import Cmdlet, Given, Pipeline, Switch
from lab.hypervisors.hyperv.session import Session
from lab.hypervisors.hyperv.settings import Target
from lab.hypervisors.hyperv.site import Site
from lab.hypervisors.hyperv.vmm import Vmm
from lab.hypervisors.model import Disk, DiskAttachment, DiskId, Endpoint, Machine, MachineSpec, PowerState
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound
from lab.hypervisors.turns import Turns
from lab.waiting import Deadline, DeadlineExceeded

CHECKPOINT_FOR_COPY = "recovery-lab copy"


@dataclass(frozen=True)
class HypervHypervisor:
    """Machines, power, disks and reach of one lab on one host; checkpoints and switches as attributes."""

    site: Site
    storage: Storage
    checkpoints: CheckpointAbility
    switches: SwitchAbility
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
            self.switches.ensure_network(nic.network)
        names, what = self.site.names, f"machine {spec.name}"
        if spec.seed is not None:
            self.storage.put(f"seed of {spec.name}", Path(spec.seed), names.seed(spec.name))
        self.site.change(what, *new_machine(spec, names))
        try:
            for part in parts(spec, names):
                self.site.change(what, part)
        except HypervisorError:
            with suppress(HypervisorError):
                self.site.change(what, _removal(names.machine(spec.name)))
            raise
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
        if found.has_checkpoints:
            raise Conflict(f"machine {name}: has checkpoints, without which its disks cannot be read")
        self.site.change(f"machine {name}", _removal(found.full_name))
        for path in (self.site.names.seed(name), self.site.names.console(name)):
            with suppress(NotFound):
                self.storage.remove_file(f"files of {name}", path)

    def power(self, name: str) -> PowerState:
        """Return the present state. Raises NotFound."""
        return self.site.find(name).power

    def power_on(self, name: str) -> None:
        """Switch on. Raises NotFound, HypervisorError."""
        found = self.site.find(name)
        if found.power is not PowerState.ON:
            self.site.change(f"start of {name}", Cmdlet("Start-VM", {"Name": found.full_name}))

    def power_off(self, name: str) -> None:
        """Cut the power. Raises NotFound."""
        found = self.site.find(name)
        if found.power is PowerState.OFF:
            return
        given: Given = {"Name": found.full_name, "TurnOff": Switch.ON, "Force": Switch.ON, "Confirm": Switch.OFF}
        try:
            self.site.change(f"power cut of {name}", Cmdlet("Stop-VM", given))
        except Conflict:
            if self.power(name) is not PowerState.OFF:
                raise

    def shut_down(self, name: str, deadline: Deadline) -> None:
        """Ask the guest and wait. Raises NotFound, DeadlineExceeded, HypervisorError."""
        found = self.site.find(name)
        if found.power is PowerState.OFF:
            return
        given: Given = {"Name": found.full_name, "Force": Switch.ON, "Confirm": Switch.OFF}
        try:
            self.site.change(f"shutdown of {name}", Cmdlet("Stop-VM", given), deadline=deadline)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"no shutdown of {name} within {deadline.seconds:.0f} s") from error
        if self.power(name) is not PowerState.OFF:
            raise HypervisorError(f"shutdown of {name}: the host says that it is done, but the machine is on")

    def create_disk(self, disk: DiskId, size_bytes: int) -> Disk:
        """Make an empty disk. Raises Conflict."""
        self.storage.create(disk, size_bytes)
        return Disk(disk, size_bytes, None)

    def import_disk(self, disk: DiskId, image: Path, size_bytes: int) -> Disk:
        """Make a disk with the content of a raw or qcow2 image. Raises Conflict."""
        return Disk(disk, self.storage.upload(disk, image, size_bytes), None)

    def clone_disk(self, source: DiskId, disk: DiskId) -> Disk:
        """Copy a disk as it is now; one in use is frozen by a checkpoint meanwhile. Raises NotFound, Conflict."""
        size = self.storage.size(source)
        self.storage.require_free(disk)
        what = f"disk {disk.name} as a clone of {source.name}"
        user, path = self._user_of(source), self.site.names.disk(source)
        drive = user.drive_of(source) if user is not None else None
        if user is not None and drive is not None and user.power is not PowerState.OFF:
            self._copy_frozen(user.name, what, source, disk)
        else:
            self.storage.convert(what, drive.path if drive is not None else path, disk)
        return Disk(disk, size, None)

    def grow_disk(self, disk: DiskId, size_bytes: int) -> Disk:
        """Make a disk larger, in a running machine too. Raises NotFound, Conflict when it is larger already."""
        present = self.disk(disk)
        if size_bytes < present.size_bytes:
            raise Conflict(f"disk {disk.name}: has {present.size_bytes} bytes, which are more than {size_bytes}")
        if size_bytes == present.size_bytes:
            return present
        self.storage.grow(disk, self.site.names.disk(disk), size_bytes)
        return self.disk(disk)

    def disk(self, disk: DiskId) -> Disk:
        """Return the disk. Raises NotFound."""
        size, user = self.storage.size(disk), self._user_of(disk)
        return Disk(disk, size, user.name if user is not None else None)

    def disks(self) -> Sequence[Disk]:
        """Return every disk of this lab, by name."""
        users = {drive.disk: found.name for found in self.site.found() for drive in found.drives}
        sizes = self.storage.sizes()
        return [Disk(disk, sizes[disk], users.get(disk)) for disk in sorted(sizes, key=lambda each: each.name)]

    def attach_disk(self, machine: str, attachment: DiskAttachment) -> None:
        """Plug a disk in, hot when the machine runs. Raises NotFound, Conflict."""
        found = self.site.find(machine)
        self._refuse_attached(attachment.disk)
        tag = replace(found.tag, serials={**found.tag.serials, attachment.disk.name: attachment.serial})
        self.site.change(
            f"disk {attachment.disk.name} into {machine}",
            Cmdlet("Set-VM", {"Name": found.full_name, "Notes": tag.notes()}),
            attach(found.full_name, self.site.names, attachment, found.free_location()),
        )

    def detach_disk(self, machine: str, disk: DiskId, deadline: Deadline) -> None:
        """Unplug a disk. Raises NotFound, Conflict, DeadlineExceeded."""
        found = self.site.find(machine)
        drive = found.drive_of(disk)
        if drive is None:
            raise Conflict(f"disk {disk.name}: is not attached to {machine}")
        kind, number, location = drive.place
        place: Given = {"ControllerType": kind, "ControllerNumber": number, "ControllerLocation": location}
        what = f"disk {disk.name} out of {machine}"
        removal = Cmdlet("Remove-VMHardDiskDrive", {"VMName": found.full_name, **place})
        self.site.change(what, removal, deadline=deadline)
        tag = replace(found.tag, serials={key: value for key, value in found.tag.serials.items() if key != disk.name})
        self.site.change(what, Cmdlet("Set-VM", {"Name": found.full_name, "Notes": tag.notes()}))

    def delete_disk(self, disk: DiskId) -> None:
        """Remove a disk. Raises NotFound, Conflict while attached."""
        self._refuse_attached(disk)
        self.storage.delete(disk)

    def endpoint(self, name: str) -> Endpoint:
        """Return where SSH answers. Raises NotFound, Conflict without a management card, HypervisorError."""
        found = self.site.find(name)
        if found.management is None:
            raise Conflict(f"machine {name}: has no management card")
        endpoint = found.endpoint()
        if endpoint is None:
            raise HypervisorError(f"machine {name}: the host knows no address of its management card yet")
        return endpoint

    def console_log(self, name: str) -> Path:
        """Fetch the file that records the serial console and return where it is now. Raises NotFound."""
        self.site.find(name)
        self.consoles.mkdir(parents=True, exist_ok=True)
        copy = self.consoles / f"{name}.log"
        try:
            self.storage.fetch(f"console of {name}", self.site.names.console(name), copy)
        except NotFound:
            copy.write_bytes(b"")  # never started, or nothing reads the pipe
        return copy

    def remove_all(self) -> list[str]:
        """Destroy every object of the lab and return what was removed. For ``down`` and the reaper."""
        removed = []
        for found in self.site.found():
            self.power_off(found.name)
            for snapshot in self.checkpoints.snapshots(found.name):
                self.checkpoints.remove_snapshot(snapshot)
            self.undefine(found.name)
            removed.append(f"machine {found.name}")
        for disk in sorted(self.storage.sizes(), key=lambda each: each.name):
            self.storage.delete(disk)
            removed.append(f"disk {disk.name}")
        for network in self.switches.networks():
            self.switches.remove_network(network)
        self.storage.remove_folder()
        return removed

    def vmm(self, server: str = "localhost") -> Vmm:
        """Return the clouds of a VMM server that answers on this host."""
        return Vmm(self.site.session, server)

    def close(self) -> None:
        """Close the shells; machines keep running."""
        self.site.session.close()

    def _copy_frozen(self, machine: str, what: str, source: DiskId, disk: DiskId) -> None:
        # In turn: the removal of a checkpoint merges files of all disks, also those that others are reading.
        with self.turns.of(machine, Deadline.after(COPY_SECONDS)):
            drive = self.site.find(machine).drive_of(source)
            if drive is None:
                raise Conflict(f"{what}: {machine} has let it go meanwhile")
            checkpoint = self.checkpoints.create_snapshot(machine, CHECKPOINT_FOR_COPY)
            try:
                self.storage.convert(what, drive.path, disk)
            finally:
                self.checkpoints.remove_snapshot(checkpoint)

    def _user_of(self, disk: DiskId) -> Found | None:
        return next((found for found in self.site.found() if found.drive_of(disk) is not None), None)

    def _refuse_attached(self, disk: DiskId) -> None:
        user = self.disk(disk).attached_to
        if user is not None:
            raise Conflict(f"disk {disk.name}: is attached to {user}")


def connect(target: Target, lab: str, store: Path) -> HypervHypervisor:
    """Open the driver of one lab; ``store`` is a folder of this machine for consoles.

    Raises:
        HypervisorError: the host does not answer, is not trusted, refuses the login or has no Hyper-V.
    """
    try:
        session = Session(target.host, lambda: protocol_to(target))
        session.read("host", {"host": [Pipeline(Cmdlet("Get-VMHost", {}), select=("Name",))]})
    except OSError as error:
        raise HypervisorError(f"host {target.host}: {target.trust.certificate}: {error}") from error
    return compose(session, lab, target.exchange, store)


def compose(session: Session, lab: str, exchange: Path, store: Path) -> HypervHypervisor:
    """Return the driver over a session."""
    site = Site(session, Names(lab))
    return HypervHypervisor(
        site=site,
        storage=Storage(session, site.names, exchange),
        checkpoints=CheckpointAbility(site),
        switches=SwitchAbility(site),
        consoles=store / lab / "consoles",
    )


def _removal(full_name: str) -> Cmdlet:
    return Cmdlet("Remove-VM", {"Name": full_name, "Force": Switch.ON, "Confirm": Switch.OFF})
