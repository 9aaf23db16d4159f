"""The folder of machines: where they are made and taken in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyVmomi import vim

from lab.emulators.esxi import configuration, hardware
from lab.emulators.esxi.changes import Reconfiguration, fill_backing
from lab.emulators.esxi.devices import default_devices
from lab.emulators.esxi.entities import Folder
from lab.emulators.esxi.machine import VirtualMachine
from lab.emulators.esxi.registry import Call, mutation
from lab.emulators.esxi.site import Site
from lab.emulators.esxi.vmx import from_text


class MachineFolder(Folder):
    """The folder of machines, where they are made and registered."""

    def __init__(self, site: Site, identity: str, parent: Any) -> None:
        self.site = site
        super().__init__(site.registry, identity, "vm", parent, ["VirtualMachine", "Folder"])

    @mutation
    def create_vm(self, call: Call) -> Any:
        """Make a machine. Raises DuplicateName, InvalidName, InvalidDeviceSpec, file faults; then there is none."""
        spec = call.given.config
        config = configuration.new_config(spec)
        config.hardware.device = default_devices()
        self._refuse_duplicate(config.name)
        vmx = self._place(spec, config.name)
        machine = self._adopt(config, vmx)
        try:
            with machine.lock:
                Reconfiguration(machine, spec).run()
                machine.save()
        except Exception:
            with self.registry.changing():
                self._leave(machine)
            vmx.unlink(missing_ok=True)
            if not any(vmx.parent.iterdir()):
                vmx.parent.rmdir()
            raise
        return machine.ref

    @mutation
    def register_vm(self, call: Call) -> Any:
        """Take a machine in by its .vmx. Raises FileNotFound, DuplicateName, AlreadyExists."""
        vmx = self.site.folder.existing(call.given.path)
        if any(machine.vmx == vmx for machine in self.site.machines):
            raise vim.fault.AlreadyExists(name=call.given.path, msg=f"{call.given.path} is registered already")
        try:
            config = from_text(vmx.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise vim.fault.InvalidVmConfig(property="path", msg=f"{call.given.path}: {error}") from error
        config.name = configuration.checked_name(call.given.name or config.name)
        self._refuse_duplicate(config.name)
        machine = self._adopt(config, vmx)
        with machine.lock:
            Reconfiguration(machine, vim.vm.ConfigSpec()).run()
            _complete(machine)
        return machine.ref

    def _adopt(self, config: Any, vmx: Path) -> VirtualMachine:
        with self.registry.changing():
            machine = VirtualMachine(self.site, config, vmx, self.ref)
            self.site.machines.append(machine)
            config.files = vim.vm.FileInfo(
                vmPathName=self.site.folder.path(vmx), snapshotDirectory=self.site.folder.path(vmx.parent)
            )
        return machine

    def _leave(self, machine: VirtualMachine) -> None:
        self.site.machines.remove(machine)
        machine.remove()

    def _refuse_duplicate(self, name: str) -> None:
        taken = next((machine for machine in self.site.machines if machine.name == name), None)
        if taken is not None:
            raise vim.fault.DuplicateName(name=name, object=taken.ref, msg=f"The name '{name}' already exists.")

    def _place(self, spec: Any, name: str) -> Path:
        """Return the new .vmx: where the spec says, or in a folder of its own that is called as the machine."""
        asked = spec.files.vmPathName if spec.files is not None else f"[{self.site.folder.name}]"
        target = self.site.folder.file(asked)
        if target.suffix == ".vmx":
            if target.exists():
                raise vim.fault.FileAlreadyExists(file=asked, msg=f"File {asked} exists already")
            target.parent.mkdir(parents=True, exist_ok=True)
            return target
        names = (name if number == 0 else f"{name}_{number}" for number in range(1000))
        folder = next(path for item in names if not (path := target / item).exists())
        folder.mkdir(parents=True)
        return folder / f"{name}.vmx"


def _complete(machine: VirtualMachine) -> None:
    """Fill in what a .vmx does not say about disks and cards."""
    with machine.registry.changing():
        for disk in hardware.disks(machine.config):
            fill_backing(machine, disk, machine.site.folder.existing(disk.backing.fileName))
        machine.config.guestFullName = "Other (64-bit)"
        machine.config.version = "vmx-19"
