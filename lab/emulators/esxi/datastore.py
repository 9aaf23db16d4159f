"""Datastores on the wire: the browser, the file manager and the manager of virtual disks."""

from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from pyVmomi import vim, vmodl

from lab.emulators.esxi import disk_files
from lab.emulators.esxi.backend import Backend, BackendError
from lab.emulators.esxi.datastore_paths import DatastoreFolder
from lab.emulators.esxi.registry import Call, Managed, Registry, mutation, operation

InUse = Callable[[Path], bool]
"""Whether a running machine holds a file."""


class Users(Protocol):
    """Who uses a file."""

    def in_use(self, file: Path) -> bool:
        """Whether a running machine holds a file."""

    def attached(self, descriptor: Path) -> bool:
        """Whether any machine has a layer in one of its disks, running or not."""


class DatastoreBrowser(Managed):
    """Lists files."""

    kind = vim.host.DatastoreBrowser

    def __init__(self, registry: Registry, identity: str, folder: DatastoreFolder, datastore: Any) -> None:
        self._folder = folder
        self.datastore = [datastore]
        super().__init__(registry, identity)

    @operation
    def search_datastore(self, call: Call) -> Any:
        """List one folder. Raises FileNotFound."""
        return self._results(self._start(call), call.given.searchSpec)

    @operation
    def search_datastore_sub_folders(self, call: Call) -> Any:
        """List a folder and those below it. Raises FileNotFound."""
        top = self._start(call)
        folders = [top, *sorted(path for path in top.rglob("*") if path.is_dir())]
        found = [self._results(folder, call.given.searchSpec) for folder in folders]
        return vim.host.DatastoreBrowser.SearchResults.Array(found)

    def _start(self, call: Call) -> Path:
        top = self._folder.existing(call.given.datastorePath)
        if not top.is_dir():
            raise vim.fault.FileNotFound(file=call.given.datastorePath, msg=f"{call.given.datastorePath} is no folder")
        return top

    def _results(self, folder: Path, spec: Any) -> Any:
        files = [
            _file_info(path, spec)
            for path in sorted(folder.iterdir())
            if not path.name.startswith(".") and _wanted(path, spec)
        ]
        name = self._folder.path(folder)
        return vim.host.DatastoreBrowser.SearchResults(datastore=self.datastore[0], folderPath=name, file=files)


class FileManager(Managed):
    """Makes, moves, copies and deletes files."""

    kind = vim.FileManager

    def __init__(self, registry: Registry, identity: str, folder: DatastoreFolder, in_use: InUse) -> None:
        self._folder, self._in_use = folder, in_use
        super().__init__(registry, identity)

    @mutation
    def make_directory(self, call: Call) -> None:
        """Make a folder. Raises FileAlreadyExists, FileNotFound for a missing parent."""
        target = self._folder.file(call.given.name)
        if target.exists():
            raise vim.fault.FileAlreadyExists(file=call.given.name, msg=f"File {call.given.name} exists already")
        if not target.parent.is_dir() and not call.given.createParentDirectories:
            raise vim.fault.FileNotFound(file=call.given.name, msg=f"the parent of {call.given.name} was not found")
        target.mkdir(parents=True)

    @mutation
    def move_datastore_file(self, call: Call) -> None:
        """Rename a file or folder. Raises FileNotFound, FileAlreadyExists, FileLocked."""
        source, target = self._pair(call)
        source.rename(target)

    @mutation
    def copy_datastore_file(self, call: Call) -> None:
        """Copy a file. Raises FileNotFound, FileAlreadyExists, FileLocked."""
        source, target = self._pair(call)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)

    @mutation
    def delete_datastore_file(self, call: Call) -> None:
        """Delete a file, or a folder with everything in it. Raises FileNotFound, FileLocked."""
        target = self._folder.existing(call.given.name)
        if target == self._folder.root.resolve():
            raise vim.fault.CannotDeleteFile(file=call.given.name, msg="the datastore itself cannot be deleted")
        held = [target] if target.is_file() else list(target.rglob("*"))
        for file in held:
            self._refuse_in_use(file)
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()

    def _pair(self, call: Call) -> tuple[Path, Path]:
        source = self._folder.existing(call.given.sourceName)
        target = self._folder.file(call.given.destinationName)
        if target.exists() and not call.given.force:
            name = call.given.destinationName
            raise vim.fault.FileAlreadyExists(file=name, msg=f"File {name} exists already")
        self._refuse_in_use(source)
        return source, target

    def _refuse_in_use(self, file: Path) -> None:
        if self._in_use(file):
            name = self._folder.path(file)
            raise vim.fault.FileLocked(file=name, msg=f"Unable to access file {name} since it is locked")


class VirtualDiskManager(Managed):
    """Makes, copies and deletes virtual disks."""

    kind = vim.VirtualDiskManager

    def __init__(
        self, registry: Registry, identity: str, folder: DatastoreFolder, backend: Backend, users: Users
    ) -> None:
        self._folder, self._backend = folder, backend
        self._in_use, self._attached = users.in_use, users.attached
        super().__init__(registry, identity)

    @mutation
    def create_virtual_disk(self, call: Call) -> str:
        """Make a disk. Raises FileAlreadyExists, FileNotFound for a missing folder."""
        target = self._new(call.given.name)
        spec = call.given.spec
        size = getattr(spec, "capacityKb", None)
        if not size or size <= 0:
            raise vmodl.fault.InvalidArgument(invalidProperty="capacityKb", msg="a capacity above 0 is expected")
        with disk_faults(call.given.name):
            self._backend.create_disk(target, size * 1024)
        return str(call.given.name)

    @mutation
    def copy_virtual_disk(self, call: Call) -> None:
        """Copy a disk that nobody writes. Raises FileNotFound, FileAlreadyExists, FileLocked."""
        source = self._folder.existing(call.given.sourceName)
        self._refuse_in_use(source)
        target = self._new(call.given.destName)
        with disk_faults(call.given.sourceName):
            self._backend.copy_disk(source, target)

    @mutation
    def extend_virtual_disk(self, call: Call) -> None:
        """Make a disk larger that no machine has. Raises FileNotFound, FileLocked, InvalidArgument."""
        name, size = call.given.name, call.given.newCapacityKb * 1024
        target = self._folder.existing(name)
        if self._attached(target):
            raise vim.fault.FileLocked(file=name, msg=f"{name} is in a machine: reconfigure that")
        with disk_faults(name):
            if size < disk_files.read_layer(target).size_bytes:
                raise vmodl.fault.InvalidArgument(invalidProperty="newCapacityKb", msg=f"{name} is larger already")
            self._backend.grow_disk(None, target, size)

    @mutation
    def delete_virtual_disk(self, call: Call) -> None:
        """Delete a disk. Raises FileNotFound, FileLocked."""
        target = self._folder.existing(call.given.name)
        self._refuse_in_use(target)
        with disk_faults(call.given.name):
            self._backend.delete_disk(target)

    @operation
    def query_virtual_disk_uuid(self, call: Call) -> str:
        """Return a disk's identity. Raises FileNotFound."""
        with disk_faults(call.given.name):
            return disk_files.read_layer(self._folder.existing(call.given.name)).uuid

    def _new(self, name: str) -> Path:
        target = self._folder.file(name)
        if target.exists():
            raise vim.fault.FileAlreadyExists(file=name, msg=f"File {name} exists already")
        if not target.parent.is_dir():
            raise vim.fault.FileNotFound(file=name, msg=f"the folder of {name} was not found")
        return target

    def _refuse_in_use(self, descriptor: Path) -> None:
        if self._in_use(descriptor):
            name = self._folder.path(descriptor)
            raise vim.fault.FileLocked(file=name, msg=f"Unable to access file {name} since it is locked")


@contextmanager
def disk_faults(name: str) -> Iterator[None]:
    """Turn the backend's errors into file faults about ``name``."""
    try:
        yield
    except BackendError as error:
        raise vim.fault.FileFault(file=name, msg=str(error)) from error


def _wanted(path: Path, spec: Any) -> bool:
    patterns = list(spec.matchPattern or []) if spec is not None else []
    if patterns and not any(fnmatch.fnmatchcase(path.name, pattern) for pattern in patterns):
        return False
    queries = list(spec.query or []) if spec is not None else []
    return not queries or any(_fits(path, query) for query in queries)


def _fits(path: Path, query: Any) -> bool:
    if isinstance(query, vim.host.DatastoreBrowser.VmDiskQuery):
        return path.suffix == ".vmdk" and not path.stem.endswith("-flat")
    if isinstance(query, vim.host.DatastoreBrowser.FolderQuery):
        return path.is_dir()
    if isinstance(query, vim.host.DatastoreBrowser.VmConfigQuery):
        return path.suffix == ".vmx"
    return True


def _file_info(path: Path, spec: Any) -> Any:
    status = path.stat()
    common = {
        "path": path.name,
        "fileSize": status.st_size,
        "modification": datetime.fromtimestamp(status.st_mtime, UTC),
    }
    queries = list(spec.query or []) if spec is not None else []
    if path.is_dir():
        return vim.host.DatastoreBrowser.FolderInfo(**common)
    if any(isinstance(query, vim.host.DatastoreBrowser.VmDiskQuery) for query in queries) and path.suffix == ".vmdk":
        layer = disk_files.read_layer(path)
        common["fileSize"] = sum(file.stat().st_blocks * 512 for file in layer.files if file.exists())
        return vim.host.DatastoreBrowser.VmDiskInfo(**common, capacityKb=layer.size_bytes // 1024)
    return vim.host.DatastoreBrowser.FileInfo(**common)
