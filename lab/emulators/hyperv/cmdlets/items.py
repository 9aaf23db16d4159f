"""Copy-Item, Remove-Item, Test-Path, Get-ChildItem, New-Item: the files of the host."""

from __future__ import annotations

from pathlib import PureWindowsPath
from typing import Any

from lab.emulators.hyperv import errors
from lab.emulators.hyperv.cmdlets.call import Call, Emulated
from lab.emulators.hyperv.cmdlets.vhd import delete_disk, new_disk, open_in
from lab.emulators.hyperv.files import PlainFile
from lab.emulators.hyperv.host import Host, like, refused
from lab.emulators.hyperv.powershell.values import Record, Unsupported
from lab.waiting import Deadline

_HARD_DISKS = {".vhdx", ".avhdx"}


def _copy(call: Call) -> list[Any]:
    host, target = call.host, call.text("Destination")
    with host.lock:
        source = host.files.find(call.text("LiteralPath"))
        if not isinstance(source, PlainFile):
            raise Unsupported("Copy-Item of a virtual hard disk is not emulated: Convert-VHD is")
        if PureWindowsPath(target).suffix.casefold() not in _HARD_DISKS:
            with refused():
                host.files.copy(source, target)
            return []
        with refused():
            size = host.backend.image_bytes(source.real)
        made = new_disk(host, target, size, "Dynamic")
    try:
        with refused():
            host.backend.fill(made.disk, source.real)
    except errors.CmdletError:
        delete_disk(host, made)
        raise
    return []


def _remove(call: Call) -> list[Any]:
    host, path = call.host, call.text("LiteralPath")
    if _is_folder(host, path):
        _remove_folder(host, path, recursive=call.bound.flag("Recurse"))
        return []
    found = host.files.find(path)
    if isinstance(found, PlainFile):
        host.files.delete(found)
        return []
    if open_in(host, path):
        raise errors.in_use(path)
    user = host.user_of(path)
    if user is not None and user.defined:
        with refused():
            host.backend.host.detach_disk(user.machine, found.disk, Deadline.after(10.0))
    delete_disk(host, found)
    return []


def _remove_folder(host: Host, path: str, *, recursive: bool) -> None:
    inside = [key for key in host.folders if key.startswith(path.casefold() + "\\")]
    files = [entry for key in [path.casefold(), *inside] for entry in host.files.below(key)]
    if (inside or files) and not recursive:
        raise errors.CmdletError("RemoveFileSystemItemIOError", f"The directory '{path}' is not empty.")
    for entry in files:
        if isinstance(entry, PlainFile):
            host.files.delete(entry)
        else:
            raise Unsupported("removing a folder with virtual hard disks is not emulated")
    host.folders -= {path.casefold(), *inside}


def _test(call: Call) -> list[Any]:
    path = call.text("LiteralPath")
    return [call.host.files.has(path) or _is_folder(call.host, path)]


def _children(call: Call) -> list[Any]:
    path = call.text("LiteralPath")
    if not _is_folder(call.host, path):
        raise errors.no_path(path)
    found = call.host.files.below(path)
    return [_file(call, item.path) for item in found if like(PureWindowsPath(item.path).name, call.text("Filter", "*"))]


def _file(call: Call, path: str) -> Record:
    return call.module.record("FileInfo", {"Name": PureWindowsPath(path).name, "FullName": path})


def _new(call: Call) -> list[Any]:
    if call.text("ItemType").casefold() != "directory":
        raise Unsupported("New-Item is emulated for directories only")
    path = call.text("Path")
    if _is_folder(call.host, path) and not call.bound.flag("Force"):
        raise errors.CmdletError("DirectoryExist", f"An item with the specified name {path} already exists.")
    pure = PureWindowsPath(path)
    call.host.folders |= {str(folder).casefold() for folder in (pure, *pure.parents)}
    return [call.module.record("DirectoryInfo", {"Name": pure.name, "FullName": path})]


def _is_folder(host: Host, path: str) -> bool:
    return str(PureWindowsPath(path)).casefold() in host.folders


CMDLETS = {
    "Copy-Item": Emulated(_copy, "LiteralPath Destination", waits=True),
    "Remove-Item": Emulated(_remove, "LiteralPath Recurse"),
    "Test-Path": Emulated(_test, "LiteralPath"),
    "Get-ChildItem": Emulated(_children, "LiteralPath Filter"),
    "New-Item": Emulated(_new, "Path ItemType"),
}
