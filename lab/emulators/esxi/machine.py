"""A virtual machine: its properties, and its operations but those on snapshots."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyVmomi import vim, vmodl

from lab.emulators.esxi import configuration, hardware, summaries
from lab.emulators.esxi.backend import BackendError
from lab.emulators.esxi.changes import Reconfiguration
from lab.emulators.esxi.disk_files import chain
from lab.emulators.esxi.registry import Call, Managed, mutation, operation
from lab.emulators.esxi.site import Site
from lab.emulators.esxi.snapshots import SnapshotTree
from lab.emulators.esxi.vmx import to_text

On = vim.VirtualMachine.PowerState.poweredOn
Off = vim.VirtualMachine.PowerState.poweredOff


class VirtualMachine(Managed):
    """One machine of the inventory."""

    kind = vim.VirtualMachine

    def __init__(self, site: Site, config: Any, vmx: Path, parent: Any) -> None:
        self.site = site
        self.config = config
        self.vmx = vmx
        self.parent = parent
        self.overall_status = self.config_status = "green"
        self.power_state = Off
        self.boot_time: datetime | None = None
        self.ssh_port: int | None = None
        self.lock = threading.RLock()
        self.tree = SnapshotTree(self)
        super().__init__(site.registry, site.machine_identity())
        self.save()

    @property
    def identity(self) -> str:
        """The identity as a text."""
        return str(self.ref._moId)  # noqa: SLF001 - pyVmomi has no other name for it

    @property
    def name(self) -> str:
        """The name in the inventory."""
        return str(self.config.name)

    @property
    def resource_pool(self) -> Any:
        """Where it runs."""
        return self.site.pool

    @property
    def datastore(self) -> list[Any]:
        """Where its files are."""
        return [self.site.datastore]

    @property
    def network(self) -> list[Any]:
        """The port groups of its cards."""
        names = {card.backing.deviceName for card in hardware.cards(self.config)}
        return [self.site.networks[name].ref for name in sorted(names) if name in self.site.networks]

    @property
    def runtime(self) -> Any:
        """Its power, and where it runs."""
        return summaries.runtime(self)

    @property
    def summary(self) -> Any:
        """The short description."""
        return summaries.summary(self)

    @property
    def guest(self) -> Any:
        """What is known of the guest."""
        return summaries.guest(self)

    @property
    def guest_heartbeat_status(self) -> str:
        """Nothing is known of the guest's health."""
        return "gray"

    @property
    def snapshot(self) -> Any:
        """The tree of snapshots, unset without any."""
        return self.tree.info()

    @property
    def root_snapshot(self) -> list[Any]:
        """The roots of the tree."""
        return self.tree.roots()

    @property
    def layout_ex(self) -> Any:
        """Its files."""
        return summaries.layout(self)

    @operation
    def query_changed_disk_areas(self, call: Call) -> Any:
        """Return where a disk of a snapshot differs from an earlier moment. Raises FileFault, NotFound."""
        given = call.given
        with self.lock:
            return self.tree.changed_areas(given.snapshot, given.deviceKey, given.startOffset, given.changeId)

    @mutation
    def power_on_vm(self, call: Call) -> None:  # noqa: ARG002 - the protocol's signature
        """Switch on. Raises InvalidPowerState, FileLocked, FileNotFound."""
        with self.lock:
            self.require_power(Off)
            machine = hardware.hardware_of(self)
            self._run(lambda: self.site.backend.start(machine))
            with self.registry.changing():
                self.power_state, self.boot_time = On, datetime.now(UTC)

    @mutation
    def power_off_vm(self, call: Call) -> None:  # noqa: ARG002 - the protocol's signature
        """Cut the power. Raises InvalidPowerState."""
        with self.lock:
            self.require_power(On)
            self.cut_power()

    @mutation
    def reset_vm(self, call: Call) -> None:  # noqa: ARG002 - the protocol's signature
        """Press reset. Raises InvalidPowerState."""
        with self.lock:
            self.require_power(On)
            self._run(lambda: self.site.backend.reset(self.identity))

    @mutation
    def shutdown_guest(self, call: Call) -> None:  # noqa: ARG002 - the protocol's signature
        """Ask the guest to shut down. Raises InvalidPowerState."""
        with self.lock:
            self.require_power(On)
            self._run(lambda: self.site.backend.press_power_button(self.identity))

    @mutation
    def reconfig_vm(self, call: Call) -> None:
        """Change configuration and devices, hot where the machine runs. Raises many faults, then nothing changed."""
        with self.lock:
            Reconfiguration(self, call.given.spec).run()
            self.save()

    @mutation
    def rename(self, call: Call) -> None:
        """Give another name. Raises DuplicateName, InvalidName."""
        name = configuration.checked_name(call.given.newName)
        other = next((machine for machine in self.site.machines if machine.name == name), None)
        if other is not None and other is not self:
            raise vim.fault.DuplicateName(name=name, object=other.ref, msg=f"The name '{name}' already exists.")
        with self.lock, self.registry.changing():
            self.config.name = name
            self.save()

    @mutation
    def unregister_vm(self, call: Call) -> None:  # noqa: ARG002 - the protocol's signature
        """Take it out of the inventory; every file stays. Raises InvalidPowerState."""
        with self.lock:
            self.require_power(Off)
            self._leave()

    @mutation
    def destroy(self, call: Call) -> None:  # noqa: ARG002 - the protocol's signature
        """Remove it with the files of its disks. Raises InvalidPowerState."""
        with self.lock:
            self.require_power(Off)
            descriptors = self.descriptors()
            self._leave()
            for descriptor in sorted(descriptors | self.tree.layers()):
                if descriptor.exists():
                    self._run(lambda path=descriptor: self.site.backend.delete_disk(path))
            self.vmx.unlink(missing_ok=True)
            if not any(self.vmx.parent.iterdir()):
                self.vmx.parent.rmdir()

    @mutation
    def create_snapshot(self, call: Call) -> Any:
        """Freeze the disks. Raises NotSupported for the memory of a running machine."""
        given = call.given
        with self.lock:
            return self.tree.create(given.name, given.description or "", memory=given.memory, quiesce=given.quiesce)

    @mutation
    def create_snapshot_ex(self, call: Call) -> Any:
        """Freeze the disks, as above."""
        given = call.given
        with self.lock:
            quiesce = given.quiesceSpec is not None
            return self.tree.create(given.name, given.description or "", memory=given.memory, quiesce=quiesce)

    @mutation
    def remove_all_snapshots(self, call: Call) -> None:  # noqa: ARG002 - the protocol's signature
        """Merge every snapshot."""
        with self.lock:
            self.tree.remove_all()

    @mutation
    def revert_to_current_snapshot(self, call: Call) -> None:  # noqa: ARG002 - the protocol's signature
        """Go back to the current snapshot. Raises NotFound without one."""
        with self.lock:
            if self.tree.current is None:
                raise vim.fault.NotFound(msg="The machine has no snapshot")
            self.tree.revert(self.tree.current)

    def require_power(self, state: Any) -> None:
        """Raise InvalidPowerState unless the machine is in that state."""
        if self.power_state != state:
            raise vim.fault.InvalidPowerState(
                requestedState=Off if state == On else On,
                existingState=self.power_state,
                msg=f"The attempted operation cannot be performed in the current state ({self.power_state}).",
            )

    def cut_power(self) -> None:
        """Cut the power of a running machine."""
        self._run(lambda: self.site.backend.stop(self.identity))
        self.ended()

    def ended(self) -> None:
        """Note that the machine is off."""
        with self.registry.changing():
            self.power_state, self.boot_time = Off, None

    def layers(self, disk: Any) -> list[Any]:
        """Return the layers of one of its disks, the base first. Raises FileNotFound, FileFault."""
        descriptor = self.site.folder.existing(disk.backing.fileName)
        try:
            return chain(descriptor)
        except BackendError as error:
            raise vim.fault.FileFault(file=disk.backing.fileName, msg=str(error)) from error

    def held_files(self) -> set[Path]:
        """Return the files that nobody else may touch while it runs: of each disk the layer that is written."""
        if self.power_state != On:
            return set()
        held: set[Path] = set()
        for disk in hardware.disks(self.config):
            top = self.layers(disk)[-1]
            held.update(top.files)
        return held

    def descriptors(self) -> set[Path]:
        """Return the descriptors of all layers of its disks."""
        return {layer.descriptor for disk in hardware.disks(self.config) for layer in self.layers(disk)}

    def save(self) -> None:
        """Write the .vmx file."""
        self.vmx.write_text(to_text(self.config), encoding="utf-8")

    def _leave(self) -> None:
        with self.registry.changing():
            self.site.machines.remove(self)
            self.tree.forget()
            self.remove()

    def _run(self, work: Any) -> None:
        try:
            work()
        except BackendError as error:
            raise vim.fault.GenericVmConfigFault(reason=str(error), msg=str(error)) from error


__all__ = ["Off", "On", "VirtualMachine", "vmodl"]
