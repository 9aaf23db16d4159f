"""Checkpoints without memory: every hard disk goes on in a differencing disk, NAME_GUID.avhdx beside its parent."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import PureWindowsPath
from typing import Any

from lab.emulators.hyperv import errors
from lab.emulators.hyperv.cmdlets.call import Asks, Call, Emulated
from lab.emulators.hyperv.cmdlets.machines import machine_record
from lab.emulators.hyperv.cmdlets.power import turn_off
from lab.emulators.hyperv.cmdlets.vhd import children, delete_disk
from lab.emulators.hyperv.contract.tables import Module
from lab.emulators.hyperv.files import VirtualDisk
from lab.emulators.hyperv.host import Host, refused
from lab.emulators.hyperv.machine import Checkpoint, Drive, Layer, VirtualMachine
from lab.emulators.hyperv.powershell.values import Record, Unsupported
from lab.hypervisors.hyperv.naming import base_disk
from lab.hypervisors.model import DiskId, PowerState


def checkpoint_record(module: Module, machine: VirtualMachine, found: Checkpoint) -> Record:
    """Return the object VMSnapshot."""
    parent = next((item.name for item in machine.checkpoints if item.id == found.parent), None)
    properties = {
        "Id": found.id,
        "Name": found.name,
        "SnapshotType": "Standard",
        "CreationTime": found.created,
        "ParentSnapshotId": found.parent,
        "ParentSnapshotName": parent,
        "VMId": machine.id,
        "VMName": machine.name,
        "State": "Off",
        "IsAutomaticCheckpoint": False,
        "IsDeleted": False,
    }
    return module.record("VMSnapshot", properties, found)


def take(host: Host, machine: VirtualMachine, name: str) -> Checkpoint:
    """Freeze the disks of a machine in one moment. Raises CmdletError, Unsupported."""
    power = host.power(machine)
    if machine.checkpoint_type == "Disabled":
        raise errors.wrong_state(machine.name)
    if machine.checkpoint_type == "Standard" and power is not PowerState.OFF:
        raise Unsupported("a checkpoint with the memory of a machine (CheckpointType Standard) is not emulated")
    frozen = [drive for drive in machine.hard_disks if drive.path is not None]
    made = {drive: _overlay(host, str(drive.path)) for drive in frozen}
    if power is not PowerState.OFF and made:
        swapped = {host.files.disk(str(drive.path)).disk: over.disk for drive, over in made.items()}
        with refused():
            host.backend.freeze(machine.machine, swapped)
    elif made:
        machine.defined = False
    layers = tuple(Layer(drive.place, str(drive.path)) for drive in frozen)
    machine.drives = [replace(drive, path=made[drive].path) if drive in made else drive for drive in machine.drives]
    found = Checkpoint(uuid.uuid4(), name, host.clock(), machine.parent, layers)
    machine.checkpoints.append(found)
    machine.parent = found.id
    return found


def _overlay(host: Host, path: str) -> VirtualDisk:
    parent = host.files.disk(path)
    pure = PureWindowsPath(path)
    over = str(pure.with_name(f"{base_disk(pure.stem)}_{str(uuid.uuid4()).upper()}.avhdx"))
    made = host.files.new_disk(over, "Differencing", parent.path)
    with refused():
        host.backend.overlay(made.disk, parent.disk)
    host.files.keep(made)
    return made


def _checkpoint(call: Call) -> list[Any]:
    found = []
    for machine in call.machines("Name"):
        default = f"{machine.name} - ({call.host.clock():%m/%d/%Y - %H:%M:%S})"
        made = take(call.host, machine, call.text("SnapshotName", default))
        found.append(checkpoint_record(call.module, machine, made))
    return call.passed(found)


def _get(call: Call) -> list[Any]:
    machines = call.machines("VMName") if call.given("VM") or call.given("VMName") else call.host.machines
    return [
        checkpoint_record(call.module, machine, item)
        for machine in machines
        for item in machine.checkpoints
        if call.fits(item.name) and (not call.given("Id") or item.id == call.bound.get("Id"))
    ]


def restore(host: Host, machine: VirtualMachine, found: Checkpoint) -> None:
    """Bring a machine back to a checkpoint; it is off afterwards. Raises CmdletError."""
    turn_off(host, machine)
    _undefine(host, machine)
    drives = [drive for drive in machine.drives if drive.kind != "HardDiskDrive"]
    left = [str(drive.path) for drive in machine.hard_disks if drive.path is not None]
    drives += [Drive("HardDiskDrive", *item.place, _overlay(host, item.path).path) for item in found.layers]
    machine.drives, machine.parent = drives, found.id
    for path in left:
        disk = host.files.disk(path)
        if disk.parent is not None and not children(host, path):
            delete_disk(host, disk)


def remove(host: Host, machine: VirtualMachine, found: Checkpoint) -> None:
    """Merge a checkpoint away. Raises CmdletError, Unsupported."""
    _merge_all(host, machine, found)
    machine.checkpoints = [
        replace(item, parent=found.parent) if item.parent == found.id else item
        for item in machine.checkpoints
        if item.id != found.id
    ]
    if machine.parent == found.id:
        machine.parent = found.parent


def _restore(call: Call) -> list[Any]:
    machine, found = _one(call)
    restore(call.host, machine, found)
    return call.passed([checkpoint_record(call.module, machine, found)])


def _undefine(host: Host, machine: VirtualMachine) -> None:
    """Let the backend forget a machine that is off, so that its disks are free."""
    if machine.defined:
        with refused():
            host.backend.host.undefine(machine.machine)
        machine.defined = False


def _remove(call: Call) -> list[Any]:
    found = _chosen(call)
    if call.bound.flag("IncludeAllChildSnapshots"):
        raise Unsupported("parameter -IncludeAllChildSnapshots is not emulated")
    for machine, checkpoint in found:
        remove(call.host, machine, checkpoint)
    return call.passed([machine_record(call.module, call.host, machine) for machine, _ in found])


def _merge_all(host: Host, machine: VirtualMachine, checkpoint: Checkpoint) -> None:
    """Merge what was written after a checkpoint into the layers that it froze."""
    running = host.power(machine) is not PowerState.OFF
    if not running:
        _undefine(host, machine)
    for layer in checkpoint.layers:
        lower = host.files.disk(layer.path)
        uppers = children(host, lower.path)
        if len(uppers) > 1:
            raise Unsupported("merging a checkpoint from which several branches start is not emulated")
        if not uppers:
            delete_disk(host, lower)
            continue
        above = children(host, uppers[0].path)
        if len(above) > 1 or (running and not _runs_on(host, machine, uppers[0].path)):
            raise Unsupported("merging a checkpoint of a branch that is not the running one is not emulated")
        with refused():
            name = machine.machine if running else None
            host.backend.merge(name, lower.disk, uppers[0].disk, _only(above))
        host.files.forget(uppers[0].path)
        for item in above:
            host.files.keep(replace(item, parent=lower.path))
        _replace_path(machine, uppers[0].path, lower.path)


def _only(above: list[VirtualDisk]) -> DiskId | None:
    return above[0].disk if above else None


def _runs_on(host: Host, machine: VirtualMachine, path: str) -> bool:
    """Whether a file is in the chain of a drive."""
    for drive in machine.hard_disks:
        current = drive.path
        while current is not None:
            if current.casefold() == path.casefold():
                return True
            current = host.files.disk(current).parent
    return False


def _replace_path(machine: VirtualMachine, old: str, new: str) -> None:
    machine.drives = [replace(item, path=new) if item.path == old else item for item in machine.drives]
    machine.checkpoints = [
        replace(item, layers=tuple(replace(layer, path=new) if layer.path == old else layer for layer in item.layers))
        for item in machine.checkpoints
    ]


def _chosen(call: Call) -> list[tuple[VirtualMachine, Checkpoint]]:
    objects = call.bound.get("VMSnapshot")
    if objects is not None:
        keys = {item.key.id for item in (objects if isinstance(objects, list) else [objects])}
        return [(machine, item) for machine in call.host.machines for item in machine.checkpoints if item.id in keys]
    found = [(vm, item) for vm in call.machines("VMName") for item in vm.checkpoints if call.fits(item.name)]
    if not found:
        raise errors.missing(f"The checkpoint '{call.text('Name')}'")
    return found


def _one(call: Call) -> tuple[VirtualMachine, Checkpoint]:
    found = _chosen(call)
    if len(found) != 1:
        raise errors.missing("One checkpoint")
    return found[0]


CMDLETS = {
    "Checkpoint-VM": Emulated(_checkpoint, "VM Name SnapshotName"),
    "Get-VMSnapshot": Emulated(_get, "VM VMName Name Id"),
    "Restore-VMSnapshot": Emulated(_restore, "VM VMName Name VMSnapshot", Asks.WITHOUT_CONFIRM),
    "Remove-VMSnapshot": Emulated(_remove, "VM VMName Name VMSnapshot IncludeAllChildSnapshots"),
}
