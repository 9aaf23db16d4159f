"""Virtual devices: what a change specification makes of a machine's devices. Pure: files are not touched here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

Device = vim.vm.device.VirtualDevice
Spec = vim.vm.device.VirtualDeviceSpec
SCSI_RESERVED_UNIT = 7
_FIRST_KEYS = (
    (vim.vm.device.VirtualSCSIController, 1000),
    (vim.vm.device.VirtualSATAController, 15000),
    (vim.vm.device.VirtualNVMEController, 31000),
    (vim.vm.device.VirtualDisk, 2000),
    (vim.vm.device.VirtualCdrom, 3000),
    (vim.vm.device.VirtualEthernetCard, 4000),
    (vim.vm.device.VirtualSerialPort, 9000),
)
_LABELS = (
    (vim.vm.device.VirtualDisk, "Hard disk"),
    (vim.vm.device.VirtualCdrom, "CD/DVD drive"),
    (vim.vm.device.VirtualEthernetCard, "Network adapter"),
    (vim.vm.device.VirtualSerialPort, "Serial port"),
    (vim.vm.device.VirtualSCSIController, "SCSI controller"),
)


@dataclass(frozen=True)
class Change:
    """One device that came, changed or went; ``file_operation`` is create, destroy, replace or None."""

    operation: str
    device: Any
    file_operation: str | None


def default_devices() -> list[Any]:
    """Return what every machine has."""
    fixed = (
        (vim.vm.device.VirtualIDEController, 200, 0, "IDE 0"),
        (vim.vm.device.VirtualIDEController, 201, 1, "IDE 1"),
        (vim.vm.device.VirtualPCIController, 100, 0, "PCI controller 0"),
        (vim.vm.device.VirtualSIOController, 400, 0, "SIO controller 0"),
    )
    return [
        kind(key=key, busNumber=bus, deviceInfo=vim.Description(label=label, summary=label))
        for kind, key, bus, label in fixed
    ]


def apply_changes(devices: Sequence[Any], specs: Sequence[Any]) -> tuple[list[Any], list[Change]]:
    """Return the new list of devices and what changed. Raises InvalidDeviceSpec."""
    present, changes = list(devices), []
    given: dict[int, int] = {}
    for position, spec in enumerate(specs):
        if spec.operation == Spec.Operation.add:
            device = _added(present, spec.device, given, position)
            present.append(device)
        elif spec.operation == Spec.Operation.edit:
            device = spec.device
            present[_index(present, device.key, position)] = device
            _label(device, present)
        else:
            device = present.pop(_index(present, spec.device.key, position))
            _refuse_used_controller(present, device, position)
        operation = str(spec.operation)
        changes.append(Change(operation, device, str(spec.fileOperation) if spec.fileOperation else None))
    return present, changes


def of_kind(devices: Sequence[Any], kind: Any) -> list[Any]:
    """Return the devices of a type, by controller and unit."""
    found = [device for device in devices if isinstance(device, kind)]
    return sorted(found, key=lambda device: (device.controllerKey or 0, device.unitNumber or 0, device.key))


def _added(present: list[Any], device: Any, given: dict[int, int], position: int) -> Any:
    asked = device.key
    if device.controllerKey is not None:
        device.controllerKey = given.get(device.controllerKey, device.controllerKey)
    _place(present, device, position)
    device.key = _free_key(present, device)
    if asked is not None and asked != device.key:
        given[asked] = device.key
    if isinstance(device, vim.vm.device.VirtualController):
        device.busNumber = device.busNumber or 0
        if any(type(item) is type(device) and item.busNumber == device.busNumber for item in present):
            raise _invalid(position, f"there is a controller on bus {device.busNumber} already")
    _label(device, present)
    return device


def _place(present: list[Any], device: Any, position: int) -> None:
    """Check the controller of a disk or drive and give it a free unit."""
    if not isinstance(device, vim.vm.device.VirtualDisk | vim.vm.device.VirtualCdrom):
        return
    controllers = {item.key: item for item in present if isinstance(item, vim.vm.device.VirtualController)}
    if device.controllerKey not in controllers:
        raise _invalid(position, f"there is no controller {device.controllerKey}")
    scsi = isinstance(controllers[device.controllerKey], vim.vm.device.VirtualSCSIController)
    used = {item.unitNumber for item in present if item.controllerKey == device.controllerKey}
    free = [unit for unit in range(64) if unit not in used and not (scsi and unit == SCSI_RESERVED_UNIT)]
    if device.unitNumber is None or device.unitNumber < 0:
        device.unitNumber = free[0]
    elif device.unitNumber not in free:
        raise _invalid(position, f"unit {device.unitNumber} of controller {device.controllerKey} is taken")


def _free_key(present: list[Any], device: Any) -> int:
    used = {item.key for item in present}
    first = next((number for kind, number in _FIRST_KEYS if isinstance(device, kind)), 12000)
    return next(key for key in range(first, first + 100_000) if key not in used)


def _index(present: list[Any], key: int, position: int) -> int:
    for index, item in enumerate(present):
        if item.key == key:
            return index
    raise _invalid(position, f"there is no device {key}")


def _refuse_used_controller(present: list[Any], device: Any, position: int) -> None:
    if isinstance(device, vim.vm.device.VirtualController) and any(
        item.controllerKey == device.key for item in present
    ):
        raise _invalid(position, f"controller {device.key} has devices")


def _label(device: Any, present: list[Any]) -> None:
    if device.deviceInfo is not None and device.deviceInfo.label:
        return
    kind, words = next(((kind, words) for kind, words in _LABELS if isinstance(device, kind)), (Device, "Device"))
    number = 1 + sum(isinstance(item, kind) and item is not device for item in present)
    if isinstance(device, vim.vm.device.VirtualController):
        number -= 1  # controllers are counted from 0
    label = f"{words} {number}"
    device.deviceInfo = vim.Description(label=label, summary=label)


def _invalid(position: int, message: str) -> Any:
    return vim.fault.InvalidDeviceSpec(
        deviceIndex=position, property=f"deviceChange[{position}]", msg=f"Invalid configuration for device: {message}"
    )


__all__ = ["Change", "Device", "apply_changes", "default_devices", "of_kind", "vmodl"]
