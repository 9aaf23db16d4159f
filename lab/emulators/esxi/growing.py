"""Another capacity for a disk of a machine: the one edit of a disk that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from lab.emulators.esxi import hardware
from lab.emulators.esxi.datastore import disk_faults

if TYPE_CHECKING:
    from lab.emulators.esxi.machine import VirtualMachine

KIB = 1024


def refuse_edit(machine: VirtualMachine, disk: Any) -> None:
    """Raise a fault unless the edit leaves the disk as it is or makes it larger."""
    present = _present(machine, disk)
    if disk.backing is None or disk.backing.fileName != present.backing.fileName:
        raise _invalid("backing.fileName", "a disk cannot become another one: remove it and add the other")
    if (disk.controllerKey, disk.unitNumber) != (present.controllerKey, present.unitNumber):
        raise _invalid("unitNumber", "a disk that is there stays on its controller and unit")
    size = _size(disk)
    if size < present.capacityInBytes:
        raise _invalid("capacityInKB", f"{present.capacityInBytes} bytes cannot become {size}")
    if size > present.capacityInBytes and len(machine.layers(present)) > 1:
        raise vim.fault.InvalidDeviceOperation(
            deviceIndex=0, badOp="edit", msg=f"{disk.backing.fileName} cannot grow below a snapshot"
        )


def grow(machine: VirtualMachine, disk: Any) -> None:
    """Give the disk the capacity that its device says, seen by a running guest at once."""
    present, size = _present(machine, disk), _size(disk)
    disk.backing = present.backing
    disk.capacityInBytes, disk.capacityInKB = size, size // KIB
    if size == present.capacityInBytes:
        return
    descriptor = machine.site.folder.existing(present.backing.fileName)
    with disk_faults(present.backing.fileName):
        machine.site.backend.grow_disk(machine.identity, descriptor, size)


def _present(machine: VirtualMachine, disk: Any) -> Any:
    return next(item for item in hardware.disks(machine.config) if item.key == disk.key)


def _size(disk: Any) -> int:
    """Return the wanted capacity in bytes, rounded down to whole KiB as a host does."""
    return int((disk.capacityInBytes or 0) // KIB or disk.capacityInKB or 0) * KIB


def _invalid(name: str, message: str) -> Any:
    return vim.fault.InvalidDeviceSpec(deviceIndex=0, property=name, msg=f"Invalid configuration for device: {message}")
