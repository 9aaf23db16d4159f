"""From a MachineSpec to a ConfigSpec. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from lab.hypervisors.esxi.naming import LAB_KEY, MACHINE_KEY, Names, serial_key
from lab.hypervisors.esxi.settings import Placement
from lab.hypervisors.model import SEED_SERIAL, DiskAttachment, MachineSpec
from lab.hypervisors.protocols import HypervisorError

Device = vim.vm.device
GUEST = "otherLinux64Guest"
FIRST_CONTROLLER = 1000
CONTROLLERS = 4
UNITS = tuple(unit for unit in range(16) if unit != 7)  # noqa: PLR2004 - the controller itself sits at 7
IDE = 200


@dataclass(frozen=True)
class Place:
    """Where a disk sits: a controller's key and a unit on it."""

    controller: int
    unit: int


def config_spec(spec: MachineSpec, names: Names, placement: Placement) -> Any:
    """Return what defines a machine whose disks and seed are on the datastore."""
    places = free_places(frozenset(), len(spec.disks))
    cards = [(nic.mac, names.network(nic.network)) for nic in spec.nics]
    if spec.management is not None:
        group = placement.management_with_host if spec.management.host_access else placement.management
        cards.append((spec.management.mac, group))
    changes = [added(controller(key)) for key in sorted({FIRST_CONTROLLER, *(place.controller for place in places)})]
    changes += [added(disk_device(item, place, names)) for item, place in zip(spec.disks, places, strict=True)]
    changes += [added(_card(number, mac, group)) for number, (mac, group) in enumerate(cards)]
    changes.append(added(_console(names.whole(names.console(spec.name)))))
    if spec.seed is not None:
        changes.append(added(_image(names.whole(names.seed(spec.name)))))
    options = {LAB_KEY: names.lab, MACHINE_KEY: spec.name, "disk.EnableUUID": "TRUE"}
    if spec.seed is not None:
        options[serial_key(IDE, 0)] = SEED_SERIAL
    for item, place in zip(spec.disks, places, strict=True):
        options[serial_key(place.controller, place.unit)] = item.serial
    return vim.vm.ConfigSpec(
        name=names.machine(spec.name),
        annotation=f"machine {spec.name} of recovery-lab {names.lab}",
        guestId=GUEST,
        numCPUs=spec.cpus,
        memoryMB=spec.memory_mib,
        files=vim.vm.FileInfo(vmPathName=f"[{names.datastore}]"),
        deviceChange=changes,
        extraConfig=option_values(options),
    )


def attach_spec(devices: Sequence[Any], attachment: DiskAttachment, names: Names) -> Any:
    """Return what plugs a disk into a machine with these devices. Raises HypervisorError when it is full."""
    taken = frozenset(
        Place(device.controllerKey, device.unitNumber)
        for device in devices
        if device.controllerKey is not None and device.unitNumber is not None
    )
    [place] = free_places(taken, 1)
    present = {device.key for device in devices}
    changes = [] if place.controller in present else [added(controller(place.controller))]
    changes.append(added(disk_device(attachment, place, names)))
    key = serial_key(place.controller, place.unit)
    return vim.vm.ConfigSpec(deviceChange=changes, extraConfig=option_values({key: attachment.serial}))


def detach_spec(device: Any) -> Any:
    """Return what unplugs a disk and leaves its files."""
    change = Device.VirtualDeviceSpec(operation=Device.VirtualDeviceSpec.Operation.remove, device=device)
    key = serial_key(device.controllerKey, device.unitNumber)
    return vim.vm.ConfigSpec(deviceChange=[change], extraConfig=option_values({key: ""}))


def grow_spec(device: Any, size_kib: int) -> Any:
    """Return what gives a disk of a machine another capacity; ``device`` was read from that machine."""
    device.capacityInKB, device.capacityInBytes = size_kib, size_kib * 1024
    change = Device.VirtualDeviceSpec(operation=Device.VirtualDeviceSpec.Operation.edit, device=device)
    return vim.vm.ConfigSpec(deviceChange=[change])


def free_places(taken: frozenset[Place], count: int) -> list[Place]:
    """Return free places for some disks. Raises HypervisorError when there are not so many."""
    keys = range(FIRST_CONTROLLER, FIRST_CONTROLLER + CONTROLLERS)
    free = [place for key in keys for unit in UNITS if (place := Place(key, unit)) not in taken]
    if len(free) < count:
        raise HypervisorError(f"a machine can have {CONTROLLERS * len(UNITS)} disks at most")
    return free[:count]


def controller(key: int) -> Any:
    """Return the paravirtual controller with this key."""
    return Device.ParaVirtualSCSIController(
        key=key, busNumber=key - FIRST_CONTROLLER, sharedBus=Device.VirtualSCSIController.Sharing.noSharing
    )


def disk_device(attachment: DiskAttachment, place: Place, names: Names) -> Any:
    """Return the device of a disk that exists."""
    backing = Device.VirtualDisk.FlatVer2BackingInfo(
        fileName=names.whole(names.disk_file(attachment.disk)), diskMode="persistent"
    )
    key = -100 - place.unit - 16 * (place.controller - FIRST_CONTROLLER)
    return Device.VirtualDisk(key=key, controllerKey=place.controller, unitNumber=place.unit, backing=backing)


def added(device: Any) -> Any:
    """Return the change that adds a device."""
    return Device.VirtualDeviceSpec(operation=Device.VirtualDeviceSpec.Operation.add, device=device)


def option_values(options: dict[str, str]) -> list[Any]:
    """Return extraConfig."""
    return [vim.option.OptionValue(key=key, value=value) for key, value in options.items()]


def _card(number: int, mac: str, group: str) -> Any:
    return Device.VirtualVmxnet3(
        key=-200 - number,
        macAddress=mac,
        addressType="manual",
        backing=Device.VirtualEthernetCard.NetworkBackingInfo(deviceName=group),
        connectable=Device.VirtualDevice.ConnectInfo(startConnected=True, allowGuestControl=True, connected=True),
    )


def _console(file: str) -> Any:
    backing = Device.VirtualSerialPort.FileBackingInfo(fileName=file)
    return Device.VirtualSerialPort(key=-300, yieldOnPoll=True, backing=backing)


def _image(file: str) -> Any:
    return Device.VirtualCdrom(
        key=-400,
        controllerKey=IDE,
        unitNumber=0,
        backing=Device.VirtualCdrom.IsoBackingInfo(fileName=file),
        connectable=Device.VirtualDevice.ConnectInfo(startConnected=True, allowGuestControl=False, connected=True),
    )
