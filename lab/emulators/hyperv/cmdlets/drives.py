"""Hard disk and DVD drives: which file is at which place of a machine."""

from __future__ import annotations

from typing import Any

from lab.emulators.hyperv import errors
from lab.emulators.hyperv.cmdlets.call import Call, Emulated
from lab.emulators.hyperv.contract.tables import Module
from lab.emulators.hyperv.host import Host, refused
from lab.emulators.hyperv.machine import IDE_PLACES, SCSI_PLACES, Drive, VirtualMachine
from lab.emulators.hyperv.powershell.values import Record
from lab.hypervisors.model import PowerState
from lab.waiting import Deadline, DeadlineExceeded

RELEASE_SECONDS = 120.0


def drive_record(module: Module, machine: VirtualMachine, drive: Drive) -> Record:
    """Return the object HardDiskDrive or DvdDrive."""
    kind = "Hard Drive" if drive.kind == "HardDiskDrive" else "DVD Drive"
    properties: dict[str, Any] = {
        "Path": drive.path or "",
        "ControllerType": drive.controller,
        "ControllerNumber": drive.number,
        "ControllerLocation": drive.location,
        "Name": f"{kind} on {drive.controller} controller number {drive.number} at location {drive.location}",
        "Id": f"Microsoft:{machine.id}\\{drive.controller}\\{drive.number}\\{drive.location}",
        "VMId": machine.id,
        "VMName": machine.name,
        "IsDeleted": False,
    }
    if drive.kind == "HardDiskDrive":
        properties["DiskNumber"] = None
    return module.record(drive.kind, properties, drive)


def plug(host: Host, machine: VirtualMachine, drive: Drive) -> None:
    """Put a drive into a machine, running or not. Raises CmdletError."""
    if any(item.place == drive.place for item in machine.drives):
        place = f"controller {drive.number} at location {drive.location}"
        raise errors.CmdletError("InvalidParameter", f"A drive is already connected to {place} of '{machine.name}'.")
    if drive.path is not None and drive.kind == "HardDiskDrive":
        host.files.disk(drive.path)
        user = host.user_of(drive.path)
        if user is not None and (user is machine or host.power(user) is not PowerState.OFF):
            raise errors.in_use(drive.path)
    if host.power(machine) is not PowerState.OFF and (drive.controller != "SCSI" or drive.kind != "HardDiskDrive"):
        raise errors.wrong_state(machine.name)
    if machine.defined and drive.kind == "HardDiskDrive" and drive.path is not None:
        with refused():
            host.backend.host.attach_disk(machine.machine, host.attachment(machine, drive.path))
    elif drive.kind == "DvdDrive":
        machine.defined = False
    machine.drives.append(drive)


def _get(call: Call, kind: str) -> list[Any]:
    return [
        drive_record(call.module, machine, drive)
        for machine in call.machines("VMName")
        for drive in sorted(machine.drives, key=lambda item: item.place)
        if drive.kind == kind and _at(call, drive)
    ]


def _at(call: Call, drive: Drive) -> bool:
    return (
        (not call.given("ControllerType") or call.text("ControllerType") == drive.controller)
        and (not call.given("ControllerNumber") or call.bound.get("ControllerNumber") == drive.number)
        and (not call.given("ControllerLocation") or call.bound.get("ControllerLocation") == drive.location)
    )


def _add(call: Call, kind: str) -> list[Any]:
    made = []
    for machine in call.machines("VMName"):
        controller, number, location = _place(call, machine, kind)
        drive = Drive(kind, controller, number, location, call.bound.get("Path"))
        if kind == "DvdDrive" and drive.path is not None:
            call.host.files.find(drive.path)
        plug(call.host, machine, drive)
        made.append(drive_record(call.module, machine, drive))
    return call.passed(made)


def _place(call: Call, machine: VirtualMachine, kind: str) -> tuple[str, int, int]:
    """Return where a new drive goes: what was asked for, and of the rest the first that is free."""
    default = "IDE" if machine.generation == 1 else "SCSI"
    controller = call.text("ControllerType", default)
    if controller == "IDE" and machine.generation != 1:
        raise errors.CmdletError("InvalidParameter", "A machine of generation 2 has no IDE controller.")
    numbers = range(2) if controller == "IDE" else range(1)
    places = [(n, location) for n in numbers for location in range(IDE_PLACES if controller == "IDE" else SCSI_PLACES)]
    if kind == "DvdDrive" and controller == "IDE":
        places.reverse()
    taken = {(item.number, item.location) for item in machine.drives if item.controller == controller}
    for number, location in places:
        asked = call.bound.get("ControllerNumber", number) == number
        asked = asked and call.bound.get("ControllerLocation", location) == location
        if asked and ((number, location) not in taken or call.given("ControllerLocation")):
            return controller, number, location
    raise errors.CmdletError("InvalidParameter", f"The {controller} controller of '{machine.name}' has no such place.")


def _remove(call: Call, kind: str) -> list[Any]:
    with call.host.lock:
        found = _chosen(call, kind)
    for machine, drive in found:
        running = call.host.power(machine) is not PowerState.OFF
        if running and (drive.controller != "SCSI" or kind != "HardDiskDrive"):
            raise errors.wrong_state(machine.name)
        if machine.defined and kind == "HardDiskDrive" and drive.path is not None:
            _unplug(call.host, machine, drive.path)
        with call.host.lock:
            machine.defined = machine.defined and kind == "HardDiskDrive"
            machine.drives.remove(drive)
    return call.passed([drive_record(call.module, machine, drive) for machine, drive in found])


def _unplug(host: Host, machine: VirtualMachine, path: str) -> None:
    try:
        with refused():
            disk = host.files.disk(path).disk
            host.backend.host.detach_disk(machine.machine, disk, Deadline.after(RELEASE_SECONDS))
    except DeadlineExceeded as error:
        raise errors.failed(str(error)) from error


def _chosen(call: Call, kind: str) -> list[tuple[VirtualMachine, Drive]]:
    objects = call.bound.get("VMHardDiskDrive") or call.bound.get("VMDvdDrive")
    if objects is not None:
        return [
            (machine, item.key)
            for item in objects
            for machine in call.host.machines
            if machine.id == item.get("VMId") and item.key in machine.drives
        ]
    machine = call.machine("VMName")
    found = [(machine, drive) for drive in machine.drives if drive.kind == kind and _at(call, drive)]
    if not found:
        raise errors.missing(f"The drive of '{machine.name}'")
    return found


_DVD_PLACE = "ControllerNumber ControllerLocation"
_PLACE = f"ControllerType {_DVD_PLACE}"
CMDLETS = {
    "Get-VMHardDiskDrive": Emulated(lambda call: _get(call, "HardDiskDrive"), f"VM VMName {_PLACE}"),
    "Add-VMHardDiskDrive": Emulated(lambda call: _add(call, "HardDiskDrive"), f"VM VMName Path {_PLACE}"),
    "Remove-VMHardDiskDrive": Emulated(
        lambda call: _remove(call, "HardDiskDrive"), f"VMName VMHardDiskDrive {_PLACE}", waits=True
    ),
    "Get-VMDvdDrive": Emulated(lambda call: _get(call, "DvdDrive"), f"VM VMName {_DVD_PLACE}"),
    "Add-VMDvdDrive": Emulated(lambda call: _add(call, "DvdDrive"), f"VM VMName Path {_DVD_PLACE}"),
    "Remove-VMDvdDrive": Emulated(
        lambda call: _remove(call, "DvdDrive"), f"VMName VMDvdDrive {_DVD_PLACE}", waits=True
    ),
}
