"""A hypervisor that only remembers: for tests of what is built on the protocols, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lab.hypervisors.model import (
    Disk,
    DiskAttachment,
    DiskId,
    Endpoint,
    Machine,
    MachineSpec,
    NetworkSource,
    PowerState,
)
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound
from lab.waiting import Deadline

SSH_PORT = 22


class MemorySaving:
    """Implements ``protocols.Saving``; a saved machine is its shape: cards and processors, memory and serials."""

    def __init__(self, host: MemoryHypervisor) -> None:
        self._host = host

    def platform(self) -> Mapping[str, str]:
        """Return nothing that could change."""
        return {"hypervisor": "memory"}

    def pause(self, name: str) -> None:
        """Stop a machine's processors. Raises NotFound, Conflict when it is off."""
        self._refuse_off(name)
        self._host.pause(name)

    def resume(self, name: str) -> None:
        """Let a paused machine run. Raises NotFound, Conflict when it is off."""
        self._refuse_off(name)
        self._host.power_on(name)

    def save(self, name: str, state: Path, memory: Path, deadline: Deadline) -> None:  # noqa: ARG002 - takes no time
        """Write a paused machine's shape. Raises NotFound, Conflict."""
        spec = self._host.spec(name)
        if self._host.power(name) is not PowerState.PAUSED or not spec.saveable:
            raise Conflict(f"machine {name}: has to be paused, and made to be saved")
        for file, text in ((state, _shape(spec)), (memory, "")):
            with file.open("x", encoding="utf-8") as opened:
                opened.write(text)

    def save_disk(self, disk: DiskId, target: Path) -> None:
        """Write the zeros that a disk here is made of. Raises NotFound."""
        self._host.export_disk(disk, target)

    def go_on(self, name: str, state: Path, memory: Path, deadline: Deadline) -> None:  # noqa: ARG002 - takes no time
        """Start a machine of the saved shape, paused. Raises NotFound, Conflict, HypervisorError."""
        if self._host.power(name) is not PowerState.OFF:
            raise Conflict(f"machine {name}: is running")
        if not memory.exists() or state.read_text(encoding="utf-8") != _shape(self._host.spec(name)):
            raise HypervisorError(f"machine {name}: is not as the saved one was")
        self._host.pause(name)

    def _refuse_off(self, name: str) -> None:
        if self._host.power(name) is PowerState.OFF:
            raise Conflict(f"machine {name}: is off")


def _shape(spec: MachineSpec) -> str:
    return repr((spec.cpus, spec.memory_mib, spec.nics, [item.serial for item in spec.disks]))


class MemoryHypervisor:
    """Implements ``protocols.Hypervisor`` with the same refusals as a real host; safe to call from threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._specs: dict[str, MachineSpec] = {}
        self._power: dict[str, PowerState] = {}
        self._users: dict[DiskId, str] = {}
        self._disks: dict[DiskId, int] = {}
        self._sources: dict[DiskId, NetworkSource] = {}

    def define(self, spec: MachineSpec) -> Machine:
        """Make a machine, powered off. Raises Conflict, NotFound for a missing disk."""
        with self._lock:
            if spec.name in self._specs:
                raise Conflict(f"machine {spec.name}: exists already")
            for attachment in spec.disks:
                self._refuse_attached(attachment.disk)
            self._put(spec)
            self._power[spec.name] = PowerState.OFF
            return self.machine(spec.name)

    def machine(self, name: str) -> Machine:
        """Return the machine. Raises NotFound."""
        with self._lock:
            spec = self._spec(name)
            return Machine(name, self._power[name], spec.cpus, spec.memory_mib, spec.disks, spec.nics)

    def machines(self) -> Sequence[Machine]:
        """Return every machine, by name."""
        with self._lock:
            return [self.machine(name) for name in sorted(self._specs)]

    def spec(self, name: str) -> MachineSpec:
        """Return what a machine was defined with, its present disks included. Raises NotFound."""
        with self._lock:
            return self._spec(name)

    def undefine(self, name: str) -> None:
        """Forget a powered-off machine. Raises NotFound, Conflict."""
        with self._lock:
            self._spec(name)
            if self._power[name] is not PowerState.OFF:
                raise Conflict(f"machine {name}: is running")
            self._put(replace(self._specs[name], disks=()))
            del self._specs[name], self._power[name]

    def power(self, name: str) -> PowerState:
        """Return the present state. Raises NotFound."""
        return self.machine(name).power

    def power_on(self, name: str) -> None:
        """Switch on. Raises NotFound."""
        self._switch(name, PowerState.ON)

    def power_off(self, name: str) -> None:
        """Cut the power. Raises NotFound."""
        self._switch(name, PowerState.OFF)

    def pause(self, name: str) -> None:
        """Stop a machine's processors. Raises NotFound."""
        self._switch(name, PowerState.PAUSED)

    @property
    def saving(self) -> MemorySaving:
        """The ability to save machines and to go on from there."""
        return MemorySaving(self)

    def shut_down(self, name: str, deadline: Deadline) -> None:  # noqa: ARG002 - it takes no time here
        """Switch off. Raises NotFound."""
        self._switch(name, PowerState.OFF)

    def create_disk(self, disk: DiskId, size_bytes: int) -> Disk:
        """Make a disk. Raises Conflict."""
        with self._lock:
            if disk in self._disks:
                raise Conflict(f"disk {disk.name}: exists already")
            self._disks[disk] = size_bytes
            return self.disk(disk)

    def import_disk(self, disk: DiskId, image: Path, size_bytes: int) -> Disk:
        """Make a disk at least as large as an image file. Raises Conflict."""
        return self.create_disk(disk, max(size_bytes, image.stat().st_size))

    def clone_disk(self, source: DiskId, disk: DiskId) -> Disk:
        """Make a disk as large as another one. Raises NotFound, Conflict."""
        with self._lock:
            return self.create_disk(disk, self.disk(source).size_bytes)

    def create_overlay(self, disk: DiskId, source: NetworkSource, size_bytes: int) -> Disk:
        """Make a disk and remember its source. Raises Conflict."""
        with self._lock:
            made = self.create_disk(disk, size_bytes)
            self._sources[disk] = source
            return made

    def source(self, disk: DiskId) -> NetworkSource | None:
        """Return what a disk was made over."""
        with self._lock:
            return self._sources.get(disk)

    def export_disk(self, disk: DiskId, target: Path) -> None:
        """Write the zeros that a disk here is made of. Raises NotFound."""
        with target.open("wb") as file:
            file.truncate(self.disk(disk).size_bytes)

    def grow_disk(self, disk: DiskId, size_bytes: int) -> Disk:
        """Make a disk larger. Raises NotFound, Conflict when it is larger already."""
        with self._lock:
            present = self.disk(disk).size_bytes
            if size_bytes < present:
                raise Conflict(f"disk {disk.name}: has {present} bytes, which are more than {size_bytes}")
            self._disks[disk] = size_bytes
            return self.disk(disk)

    def disk(self, disk: DiskId) -> Disk:
        """Return the disk. Raises NotFound."""
        with self._lock:
            if disk not in self._disks:
                raise NotFound(f"disk {disk.name}: does not exist")
            return Disk(disk, self._disks[disk], self._users.get(disk))

    def disks(self) -> Sequence[Disk]:
        """Return every disk, by name."""
        with self._lock:
            return [self.disk(disk) for disk in sorted(self._disks, key=lambda each: each.name)]

    def attach_disk(self, machine: str, attachment: DiskAttachment) -> None:
        """Plug a disk in. Raises NotFound, Conflict."""
        with self._lock:
            spec = self._spec(machine)
            self._refuse_attached(attachment.disk)
            self._put(replace(spec, disks=(*spec.disks, attachment)))

    def detach_disk(self, machine: str, disk: DiskId, deadline: Deadline) -> None:  # noqa: ARG002 - nobody holds on
        """Unplug a disk. Raises NotFound, Conflict."""
        with self._lock:
            spec = self._spec(machine)
            if disk not in {attachment.disk for attachment in spec.disks}:
                raise Conflict(f"disk {disk.name}: is not attached to {machine}")
            kept = tuple(attachment for attachment in spec.disks if attachment.disk != disk)
            self._put(replace(spec, disks=kept))

    def swap_disks(self, machine: str, others: Mapping[DiskId, DiskId]) -> None:
        """Let a machine have other disks (values) in the places of some (keys), under the same serials."""
        with self._lock:
            spec = self._spec(machine)
            kept = tuple(DiskAttachment(others.get(item.disk, item.disk), item.serial) for item in spec.disks)
            for item in kept:
                self.disk(item.disk)
            self._put(replace(spec, disks=kept))

    def delete_disk(self, disk: DiskId) -> None:
        """Remove a disk. Raises NotFound, Conflict while attached."""
        with self._lock:
            self._refuse_attached(disk)
            del self._disks[disk]
            self._sources.pop(disk, None)

    def endpoint(self, name: str) -> Endpoint:
        """Return an address at which nobody answers. Raises NotFound, Conflict without a management card."""
        with self._lock:
            if self._spec(name).management is None:
                raise Conflict(f"machine {name}: has no management card")
            return Endpoint("192.0.2.1", SSH_PORT)

    def console_log(self, name: str) -> Path:
        """Return a file that is always empty. Raises NotFound."""
        with self._lock:
            self._spec(name)
            return Path("/dev/null")

    def close(self) -> None:
        """Do nothing."""

    def _spec(self, name: str) -> MachineSpec:
        if name not in self._specs:
            raise NotFound(f"machine {name}: does not exist")
        return self._specs[name]

    def _switch(self, name: str, state: PowerState) -> None:
        with self._lock:
            self._spec(name)
            self._power[name] = state

    def _put(self, spec: MachineSpec) -> None:
        for attachment in self._specs[spec.name].disks if spec.name in self._specs else ():
            self._users.pop(attachment.disk, None)
        self._specs[spec.name] = spec
        self._users.update({attachment.disk: spec.name for attachment in spec.disks})

    def _refuse_attached(self, disk: DiskId) -> None:
        user = self.disk(disk).attached_to
        if user is not None:
            raise Conflict(f"disk {disk.name}: is attached to {user}")
