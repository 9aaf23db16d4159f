"""New-VHD, Get-VHD, Resize-VHD, Convert-VHD."""

from __future__ import annotations

from typing import Any

from lab.emulators.hyperv import errors
from lab.emulators.hyperv.cmdlets.call import Call, Emulated
from lab.emulators.hyperv.contract.tables import Module
from lab.emulators.hyperv.files import VirtualDisk
from lab.emulators.hyperv.host import Host, refused
from lab.emulators.hyperv.powershell.values import Record
from lab.hypervisors.model import PowerState

SECTOR, MOST_BYTES = 512, 64 << 40
BLOCK = 32 << 20


def new_disk(host: Host, path: str, size: int, kind: str) -> VirtualDisk:
    """Make a virtual hard disk that reads as zeros. Raises CmdletError."""
    made = host.files.new_disk(path, kind)
    if not 0 < size <= MOST_BYTES or size % SECTOR:
        raise errors.CmdletError("InvalidParameter", f"A virtual hard disk cannot have {size} bytes.")
    with refused():
        host.backend.host.create_disk(made.disk, size)
    host.files.keep(made)
    return made


def disk_record(module: Module, host: Host, found: VirtualDisk) -> Record:
    """Return the object VirtualHardDisk."""
    with refused():
        size = host.backend.host.disk(found.disk).size_bytes
    properties = {
        "Path": found.path,
        "VhdFormat": "VHDX",
        "VhdType": found.kind,
        "Size": size,
        "LogicalSectorSize": SECTOR,
        "PhysicalSectorSize": 4096,
        "BlockSize": BLOCK if found.kind != "Fixed" else 0,
        "ParentPath": found.parent or "",
        "Attached": open_in(host, found.path),
        "DiskNumber": None,
        "ComputerName": host.name,
    }
    return module.record("VirtualHardDisk", properties, found)


def open_in(host: Host, path: str) -> bool:
    """Whether a machine that is on has a file as the topmost layer of a drive."""
    user = host.user_of(path)
    return user is not None and host.power(user) is not PowerState.OFF


def children(host: Host, path: str) -> list[VirtualDisk]:
    """Return the disks that differ from one."""
    folder = path.rpartition("\\")[0]
    found = [entry for entry in host.files.below(folder) if isinstance(entry, VirtualDisk)]
    return [entry for entry in found if (entry.parent or "").casefold() == path.casefold()]


def _new(call: Call) -> list[Any]:
    made = []
    for path in call.bound.get("Path"):
        if call.given("ParentPath"):
            made.append(_differencing(call, path))
        else:
            kind = "Fixed" if call.bound.flag("Fixed") else "Dynamic"
            made.append(new_disk(call.host, path, call.bound.get("SizeBytes"), kind))
    return [disk_record(call.module, call.host, item) for item in made]


def _differencing(call: Call, path: str) -> VirtualDisk:
    parent = call.host.files.disk(call.text("ParentPath"))
    made = call.host.files.new_disk(path, "Differencing", parent.path)
    with refused():
        call.host.backend.overlay(made.disk, parent.disk)
    call.host.files.keep(made)
    return made


def _get(call: Call) -> list[Any]:
    return [disk_record(call.module, call.host, call.host.files.disk(path)) for path in call.bound.get("Path")]


def _resize(call: Call) -> list[Any]:
    found = [call.host.files.disk(path) for path in call.bound.get("Path")]
    for item in found:
        user = call.host.user_of(item.path)
        drive = next((drive for drive in user.drives if drive.path == item.path), None) if user is not None else None
        if open_in(call.host, item.path) and drive is not None and drive.controller == "IDE":
            raise errors.in_use(item.path)
        if children(call.host, item.path) or item.parent is not None:
            message = f"'{item.path}' belongs to a checkpoint or to a differencing disk."
            raise errors.CmdletError("InvalidState", message)
        size = call.bound.get("SizeBytes")
        if size % SECTOR:
            raise errors.CmdletError("InvalidParameter", f"A virtual hard disk cannot have {size} bytes.")
        with refused():
            call.host.backend.host.grow_disk(item.disk, size)
    return call.passed([disk_record(call.module, call.host, item) for item in found])


def _convert(call: Call) -> list[Any]:
    host = call.host
    kind = call.text("VHDType", "Dynamic")
    with host.lock:
        source = host.files.disk(call.text("Path"))
        if open_in(host, source.path):
            raise errors.in_use(source.path)
        with refused():
            size = host.backend.host.disk(source.disk).size_bytes
        made = new_disk(host, call.text("DestinationPath"), size, kind)
    try:
        with refused():
            host.backend.flatten(source.disk, made.disk)
    except errors.CmdletError:
        delete_disk(host, made)
        raise
    with host.lock:
        return call.passed([disk_record(call.module, host, made)])


def delete_disk(host: Host, found: VirtualDisk) -> None:
    """Delete a virtual hard disk that no machine has in the backend. Raises CmdletError."""
    with host.lock, refused():
        host.backend.host.delete_disk(found.disk)
        host.files.forget(found.path)


CMDLETS = {
    "New-VHD": Emulated(_new, "Path SizeBytes Dynamic Fixed Differencing ParentPath"),
    "Get-VHD": Emulated(_get, "Path"),
    "Resize-VHD": Emulated(_resize, "Path SizeBytes"),
    "Convert-VHD": Emulated(_convert, "Path DestinationPath VHDType", waits=True),
}
