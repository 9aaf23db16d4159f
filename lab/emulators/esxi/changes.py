"""A reconfiguration: decided on a copy, carried out on files and the running machine, then made the configuration."""

from __future__ import annotations

import copy
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from lab.emulators.esxi import configuration, hardware
from lab.emulators.esxi.backend import BackendError
from lab.emulators.esxi.datastore import disk_faults
from lab.emulators.esxi.devices import Change, apply_changes
from lab.emulators.esxi.disk_files import chain
from lab.emulators.esxi.growing import grow, refuse_edit
from lab.waiting import Deadline

if TYPE_CHECKING:
    from lab.emulators.esxi.machine import VirtualMachine

Disk = vim.vm.device.VirtualDisk
Card = vim.vm.device.VirtualEthernetCard
Flat = vim.vm.device.VirtualDisk.FlatVer2BackingInfo


class Reconfiguration:
    """One ConfigSpec applied to one machine."""

    def __init__(self, machine: VirtualMachine, spec: Any) -> None:
        self._machine = machine
        self._site = machine.site
        self._spec = spec
        self._draft = copy.deepcopy(machine.config)
        self._made: list[Path] = []

    def run(self) -> None:
        """Carry it out. Raises faults; disks that were made for nothing are removed again."""
        self._refuse_hot_hardware()
        configuration.change(self._draft, self._spec)
        devices, changes = apply_changes(self._draft.hardware.device, self._spec.deviceChange or [])
        self._draft.hardware.device = devices
        try:
            for change in changes:
                self._complete(change)
            hardware.publish_ssh(_Draft(self._machine, self._draft))  # type: ignore[arg-type]
            for change in changes:
                if isinstance(change.device, Disk) and change.operation == "edit":
                    grow(self._machine, change.device)
                elif self._running:
                    self._plug(change)
        except Exception:
            for descriptor in self._made:
                self._site.backend.delete_disk(descriptor)
            raise
        with self._machine.registry.changing():
            self._machine.config = self._draft
            self._machine.ssh_port = _port(self._draft)
        for change in changes:
            if change.operation == "remove" and change.file_operation == "destroy":
                self._destroy(change.device)

    @property
    def _running(self) -> bool:
        return bool(self._machine.power_state == vim.VirtualMachine.PowerState.poweredOn)

    def _refuse_hot_hardware(self) -> None:
        present, spec = self._machine.config.hardware, self._spec
        if not self._running:
            return
        if spec.numCPUs not in {None, present.numCPU}:
            raise vim.fault.CpuHotPlugNotSupported(msg="CPU hot plug is not supported for this virtual machine.")
        if spec.memoryMB not in {None, present.memoryMB}:
            raise vim.fault.MemoryHotPlugNotSupported(msg="Memory hot plug is not supported for this virtual machine.")

    def _complete(self, change: Change) -> None:
        device = change.device
        if isinstance(device, Disk) and change.operation == "add":
            self._complete_disk(device, create=change.file_operation == "create")
        elif isinstance(device, Disk) and change.operation == "edit":
            refuse_edit(self._machine, device)
        elif isinstance(device, Card) and change.operation in {"add", "edit"}:
            self._complete_card(device)

    def _complete_disk(self, disk: Any, *, create: bool) -> None:
        if disk.backing is None:
            raise vim.fault.InvalidDeviceSpec(deviceIndex=0, property="backing", msg="a disk needs a backing")
        if create:
            self._create_disk(disk)
        descriptor = self._site.folder.existing(disk.backing.fileName)
        others = (item for item in hardware.disks(self._draft) if item is not disk)
        if any(item.backing.fileName == disk.backing.fileName for item in others):
            raise vim.fault.InvalidDeviceSpec(
                deviceIndex=0, property="backing.fileName", msg=f"{disk.backing.fileName} is in this machine already"
            )
        fill_backing(self._machine, disk, descriptor)

    def _create_disk(self, disk: Any) -> None:
        size = disk.capacityInBytes or (disk.capacityInKB or 0) * 1024
        name = disk.backing.fileName or ""
        if not name or name.rstrip().endswith("]"):
            folder = self._machine.vmx.parent
            names = (folder / f"{self._machine.vmx.stem}{f'_{number}' if number else ''}.vmdk" for number in range(100))
            name = self._site.folder.path(next(file for file in names if not file.exists()))
        target = self._site.folder.file(name)
        if target.exists():
            raise vim.fault.FileAlreadyExists(file=name, msg=f"File {name} exists already")
        with disk_faults(name):
            self._site.backend.create_disk(target, size)
        self._made.append(target)
        disk.backing.fileName = name

    def _complete_card(self, card: Any) -> None:
        self._site.link(card.backing.deviceName, 1)
        if not card.macAddress:
            octets = [0x00, 0x0C, 0x29, *secrets.token_bytes(3)]
            card.macAddress = ":".join(f"{octet:02x}" for octet in octets)
            card.addressType = "generated"
        card.backing.network = self._site.networks[card.backing.deviceName].ref
        card.connectable = vim.vm.device.VirtualDevice.ConnectInfo(
            startConnected=True, allowGuestControl=True, connected=True
        )

    def _plug(self, change: Change) -> None:
        draft: Any = _Draft(self._machine, self._draft)
        backend, identity, device = self._site.backend, self._machine.identity, change.device
        deadline = Deadline.after(self._site.unplug_seconds)
        try:
            if isinstance(device, Disk) and change.operation == "add":
                backend.plug_disk(identity, hardware.disk_plug(draft, device))
            elif isinstance(device, Disk) and change.operation == "remove":
                backend.unplug_disk(identity, hardware.disk_plug(draft, device), deadline)
            elif isinstance(device, Card) and change.operation == "add":
                backend.plug_card(identity, hardware.card_plug(draft, device))
            elif isinstance(device, Card) and change.operation == "remove":
                backend.unplug_card(identity, hardware.card_plug(draft, device), deadline)
            elif not isinstance(device, vim.vm.device.VirtualController):
                raise vim.fault.InvalidPowerState(
                    requestedState="poweredOff",
                    existingState="poweredOn",
                    msg=f"{type(device).__name__} cannot be changed while the machine runs",
                )
        except BackendError as error:
            raise vim.fault.GenericVmConfigFault(reason=str(error), msg=str(error)) from error

    def _destroy(self, disk: Any) -> None:
        with disk_faults(disk.backing.fileName):
            for layer in self._machine.layers(disk):
                self._site.backend.delete_disk(layer.descriptor)


class _Draft:
    """A machine with a configuration that is not yet its own."""

    def __init__(self, machine: VirtualMachine, config: Any) -> None:
        self._machine = machine
        self.config = config
        self.ssh_port = machine.ssh_port

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)


def fill_backing(machine: VirtualMachine, disk: Any, descriptor: Path) -> None:
    """Make a disk's device say what its files are."""
    folder = machine.site.folder
    with disk_faults(folder.path(descriptor)):
        layers = chain(descriptor)
    backing = None
    for layer in layers:
        backing = Flat(
            fileName=folder.path(layer.descriptor),
            datastore=machine.site.datastore,
            diskMode="persistent",
            thinProvisioned=True,
            uuid=layer.uuid,
            parent=backing,
        )
    disk.backing = backing
    disk.capacityInBytes = layers[0].size_bytes
    disk.capacityInKB = layers[0].size_bytes // 1024


def _port(config: Any) -> int | None:
    published = configuration.option(config, hardware.SSH_KEY)
    return int(published.rpartition(":")[2]) if published else None
