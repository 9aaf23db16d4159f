"""A lab's disks: descriptors in its folder of the datastore."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pyVmomi import vim

from lab.hypervisors.esxi.errors import translated
from lab.hypervisors.esxi.session import Session
from lab.hypervisors.esxi.site import COPY_SECONDS, Site
from lab.hypervisors.image import inspect_image
from lab.hypervisors.model import DiskId
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound
from lab.waiting import Deadline

KIB = 1024
BLOCK = 1 << 20
SEARCH_SECONDS = 60.0
_EXTENT = re.compile(r"^RW (\d+) VMFS", re.MULTILINE)
SECTOR = 512
FOLDERS = ("disks", "consoles", "seeds")


@dataclass(frozen=True)
class Storage:
    """Files of disks; who uses them is the driver's business."""

    site: Site

    @property
    def session(self) -> Session:
        """The connection."""
        return self.site.session

    def prepare(self) -> None:
        """Make the lab's folders, unless they are there."""
        self.site.require_licence("folder of the lab")
        manager, names = self.session.content.fileManager, self.site.names
        for folder in FOLDERS:
            path = names.whole(f"{names.folder}/{folder}")
            with suppress(Conflict), translated(f"folder {path}"):
                manager.MakeDirectory(path, self.site.host.datacenter, True)

    def present(self) -> dict[DiskId, int | None]:
        """Return every disk, by name, with its capacity in bytes where the host's browser tells it."""
        names = self.site.names
        folder = names.whole(f"{names.folder}/disks")
        try:
            found = self._search(folder)
        except NotFound:
            return {}
        present: dict[DiskId, int | None] = {}
        for file in sorted(found.file, key=lambda each: str(each.path)):
            disk = names.disk_of(f"{folder}/{file.path}")
            if disk is not None:
                capacity = getattr(file, "capacityKb", None)
                present[disk] = capacity * KIB if capacity else None
        return present

    def require(self, disk: DiskId) -> None:
        """Raise NotFound unless the disk is there."""
        if disk not in self.present():
            raise NotFound(f"disk {disk.name}: does not exist")

    def sizes(self) -> dict[DiskId, int]:
        """Return the capacity in bytes of every disk, by name."""
        return {disk: size or self._size_in_descriptor(disk) for disk, size in self.present().items()}

    def size(self, disk: DiskId) -> int:
        """Return the capacity in bytes. Raises NotFound."""
        present = self.present()
        if disk not in present:
            raise NotFound(f"disk {disk.name}: does not exist")
        return present[disk] or self._size_in_descriptor(disk)

    def create(self, disk: DiskId, size_bytes: int) -> None:
        """Make an empty thin disk. Raises Conflict, HypervisorError for a size that is not in whole KiB."""
        spec = vim.VirtualDiskManager.FileBackedVirtualDiskSpec(
            diskType="thin", adapterType="lsiLogic", capacityKb=whole_kib(disk, size_bytes)
        )
        self.prepare()
        self._task(f"disk {disk.name}", "CreateVirtualDisk_Task", self._path(disk), self.site.host.datacenter, spec)

    def upload(self, disk: DiskId, image: Path, size_bytes: int) -> int:
        """Make a disk with the content of a raw or qcow2 image and return its size. Raises Conflict."""
        with _raw(image) as (source, length):
            size = -(-max(size_bytes, length) // KIB) * KIB
            self.create(disk, size)
            try:
                self.site.files.write(self.site.names.flat_file(disk), size, _padded(source, size))
            except HypervisorError:
                self.delete(disk)
                raise
        return size

    def upload_seed(self, machine: str, seed: Path) -> None:
        """Put a machine's seed image where its drive looks for it."""
        content = seed.read_bytes()
        self.site.files.write(self.site.names.seed(machine), len(content), [content])

    def copy(self, source: str, disk: DiskId) -> None:
        """Copy the disk with this datastore path. Raises NotFound, Conflict."""
        datacenter = self.site.host.datacenter
        manager = self.session.content.virtualDiskManager
        self.site.run(
            f"disk {disk.name}",
            lambda: manager.CopyVirtualDisk_Task(
                source,
                datacenter,
                self._path(disk),
                datacenter,
                None,
                False,
            ),
            Deadline.after(COPY_SECONDS),
        )

    def grow(self, disk: DiskId, size_bytes: int) -> None:
        """Make a disk larger that no machine has. Raises NotFound, HypervisorError for a size not in whole KiB."""
        kib, datacenter = whole_kib(disk, size_bytes), self.site.host.datacenter
        self._task(f"growth of disk {disk.name}", "ExtendVirtualDisk_Task", self._path(disk), datacenter, kib, False)

    def delete(self, disk: DiskId) -> None:
        """Remove a disk. Raises NotFound."""
        self._task(f"disk {disk.name}", "DeleteVirtualDisk_Task", self._path(disk), self.site.host.datacenter)

    def remove_folder(self) -> None:
        """Remove the lab's folder with everything that is left in it."""
        names = self.site.names
        with suppress(NotFound):
            self.remove_file(names.folder)

    def remove_file(self, path: str) -> None:
        """Remove a file or folder of the datastore. Raises NotFound."""
        manager = self.session.content.fileManager
        whole = self.site.names.whole(path)
        self.site.run(f"file {path}", lambda: manager.DeleteDatastoreFile_Task(whole, self.site.host.datacenter))

    def _path(self, disk: DiskId) -> str:
        return self.site.names.whole(self.site.names.disk_file(disk))

    def _task(self, what: str, method: str, *arguments: Any) -> None:
        manager = self.session.content.virtualDiskManager
        begin: Callable[[], Any] = lambda: getattr(manager, method)(*arguments)  # noqa: E731 - typed
        self.site.run(what, begin)

    def _search(self, folder: str) -> Any:
        query = vim.host.DatastoreBrowser.VmDiskQuery(
            details=vim.host.DatastoreBrowser.VmDiskQuery.Details(
                diskType=True, capacityKb=True, hardwareVersion=False, thin=False, encryption=False
            )
        )
        details = vim.host.DatastoreBrowser.FileInfo.Details(
            fileType=True, fileSize=True, modification=False, fileOwner=False
        )
        spec = vim.host.DatastoreBrowser.SearchSpec(query=[query], matchPattern=["*.vmdk"], details=details)
        browser, what = self.site.host.browser, f"list of {folder}"
        task = self.session.idempotent(what, lambda: browser.SearchDatastore_Task(folder, spec))
        return self.session.wait(task, what, Deadline.after(SEARCH_SECONDS))

    def _size_in_descriptor(self, disk: DiskId) -> int:
        """Read the size where a host's browser does not tell it."""
        text = self.site.files.read_whole(self.site.names.disk_file(disk)).decode("utf-8", "replace")
        found = _EXTENT.search(text)
        if found is None:
            raise HypervisorError(f"disk {disk.name}: its descriptor does not tell a size")
        return int(found[1]) * SECTOR


def whole_kib(disk: DiskId, size_bytes: int) -> int:
    """Return a size in KiB. Raises HypervisorError when it is not a whole number of them."""
    if size_bytes <= 0 or size_bytes % KIB:
        raise HypervisorError(f"disk {disk.name}: ESXi makes disks of whole KiB, not of {size_bytes} bytes")
    return size_bytes // KIB


class _raw:  # noqa: N801 - a context manager that reads like a function
    """The raw content of an image: the file itself, or what qemu-img makes of a qcow2."""

    def __init__(self, image: Path) -> None:
        self._image = image
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> tuple[BinaryIO, int]:
        kind, length = inspect_image(self._image)
        path = self._image
        if kind != "raw":
            self._folder = tempfile.TemporaryDirectory(prefix="recovery-lab-image-")
            path = Path(self._folder.name) / "image.raw"
            _convert(self._image, kind, path)
        self._file = path.open("rb")
        return self._file, length

    def __exit__(self, *_error: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._folder is not None:
            self._folder.cleanup()


def _convert(image: Path, kind: str, target: Path) -> None:
    command = ["qemu-img", "convert", "-f", kind, "-O", "raw", str(image), str(target)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=COPY_SECONDS)
    except subprocess.CalledProcessError as error:
        raise HypervisorError(f"image {image.name}: qemu-img: {error.stderr.strip()}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HypervisorError(f"image {image.name}: qemu-img: {error}") from error


def _padded(source: BinaryIO, size: int) -> Iterator[bytes]:
    left = size
    while left > 0:
        block = source.read(min(BLOCK, left)) or bytes(min(BLOCK, left))
        left -= len(block)
        yield block


__all__: Sequence[str] = ("Storage", "whole_kib")
