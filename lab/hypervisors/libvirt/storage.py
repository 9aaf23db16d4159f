"""A lab's disks: volumes of one storage pool."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import libvirt

from lab.hypervisors.image import inspect_image
from lab.hypervisors.libvirt.place import LocalPlace, Place
from lab.hypervisors.libvirt.session import Session, translated
from lab.hypervisors.libvirt.xml import pool_xml, volume_xml
from lab.hypervisors.model import DiskId, NetworkSource
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound
from lab.waiting import Deadline, DeadlineExceeded, wait_until

SUFFIX = ".img"
BUILD = 0
CREATE_SECONDS = 60.0
EXPORT_SECONDS = 3600.0
COPY_SECONDS = 3600.0
COPYING = "asynchronous jobs running"
"""What libvirt says then; it has no code of its own for it."""


@dataclass(frozen=True)
class Storage:
    """The pool of one lab, a folder with a file for each disk."""

    session: Session
    folder: Path
    place: Place = field(default_factory=LocalPlace)

    @property
    def flushed(self) -> bool:
        """Whether machines' flushes are to reach the host's disk. Not here: no test cuts this computer's power."""
        return False

    @property
    def pool_name(self) -> str:
        """Name of the pool; it is the tag by which the reaper finds it."""
        return f"recovery-lab-{self.session.lab}"

    def pool(self) -> Any:
        """Return the pool, made on first use."""
        try:
            pool = self.session.connection.storagePoolLookupByName(self.pool_name)
        except libvirt.libvirtError:
            self.place.make_folder(self.folder)
            with translated(f"pool {self.pool_name}"):
                pool = self.session.connection.storagePoolDefineXML(pool_xml(self.pool_name, self.folder), 0)
        if not pool.isActive():
            with translated(f"pool {self.pool_name}"):
                pool.create(0)
        return pool

    def exists(self) -> bool:
        """Whether the lab has a pool."""
        names = {pool.name() for pool in self.session.connection.listAllStoragePools()}
        return self.pool_name in names

    def path(self, disk: DiskId) -> Path:
        """Return the file of a disk."""
        return self.folder / f"{disk.name}{SUFFIX}"

    def find(self, disk: DiskId) -> Any:
        """Return the volume of a disk. Raises NotFound."""
        pool = self.pool()
        with translated(f"disk {disk.name}"):
            return pool.storageVolLookupByName(f"{disk.name}{SUFFIX}")

    def format(self, disk: DiskId) -> str:
        """Return "qcow2" for an overlay on an image, "raw" for all others."""
        return inspect_image(self.path(disk))[0]

    def create(self, disk: DiskId, size_bytes: int) -> None:
        """Make an empty raw disk. Raises Conflict."""
        with translated(f"disk {disk.name}"):
            self.pool().createXML(volume_xml(f"{disk.name}{SUFFIX}", size_bytes), BUILD)

    def overlay(self, disk: DiskId, image: Path, image_format: str, size_bytes: int) -> None:
        """Make a disk whose content starts as the image's. Raises Conflict."""
        document = volume_xml(f"{disk.name}{SUFFIX}", size_bytes, backing=image, backing_format=image_format)
        with translated(f"disk {disk.name} from {image.name}"):
            self.pool().createXML(document, BUILD)

    def network_overlay(self, disk: DiskId, source: NetworkSource, size_bytes: int) -> None:
        """Make a disk whose content starts as what an NBD server serves. Raises Conflict, HypervisorError."""
        if self._has(disk):
            raise Conflict(f"disk {disk.name}: exists already")
        pool = self.pool()
        # libvirt looks for a backing image on the file system, so it cannot be asked to make this one.
        backing = f"nbd+unix:///{quote(source.name)}?socket={quote(str(source.socket))}"
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", backing]
        try:
            subprocess.run(
                [*command, str(self.path(disk)), str(size_bytes)],
                check=True,
                capture_output=True,
                timeout=CREATE_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            self.path(disk).unlink(missing_ok=True)
            problem = error.stderr.decode(errors="replace").strip()
            raise HypervisorError(f"disk {disk.name} over {source.name}: {problem}") from error
        except subprocess.TimeoutExpired as error:
            self.path(disk).unlink(missing_ok=True)
            raise HypervisorError(f"disk {disk.name} over {source.name}: no answer") from error
        self._read_anew(pool)

    def export(self, disk: DiskId, target: Path) -> None:
        """Write a disk to a raw file, also one in use. Raises NotFound, HypervisorError."""
        self.find(disk)
        command = ["qemu-img", "convert", "-U", "-f", self.format(disk), "-O", "raw", str(self.path(disk)), str(target)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=EXPORT_SECONDS)
        except subprocess.CalledProcessError as error:
            problem = error.stderr.decode(errors="replace").strip()
            raise HypervisorError(f"disk {disk.name}: {problem}") from error
        except subprocess.TimeoutExpired as error:
            raise HypervisorError(f"disk {disk.name}: was not read in {EXPORT_SECONDS:.0f} s") from error

    def clone(self, source: DiskId, disk: DiskId) -> None:
        """Copy a raw disk, which may be in use. Raises NotFound, Conflict."""
        original = self.find(source)
        if self.format(source) != "raw":
            raise Conflict(f"disk {source.name}: only disks without a backing image can be cloned")
        if self._has(disk):
            # libvirt calls this an internal error.
            raise Conflict(f"disk {disk.name}: exists already")
        with translated(f"disk {disk.name} as a clone of {source.name}"):
            document = volume_xml(f"{disk.name}{SUFFIX}", original.info()[1])
            self.pool().createXMLFrom(document, original, 0)

    def grow(self, disk: DiskId, size_bytes: int) -> None:
        """Make a disk that no running machine uses larger. Raises NotFound."""
        volume = self.find(disk)
        with translated(f"growth of disk {disk.name}"):
            volume.resize(size_bytes, 0)

    def look_again(self) -> None:
        """Have libvirt read the sizes of all disks anew: a machine has changed one."""
        self._read_anew(self.pool())

    def delete(self, disk: DiskId) -> None:
        """Remove a disk. Raises NotFound."""
        volume = self.find(disk)
        with translated(f"disk {disk.name}"):
            volume.delete(0)

    def sizes(self) -> dict[DiskId, int]:
        """Return the capacity in bytes of every disk."""
        if not self.exists():
            return {}
        pool = self.pool()
        self._read_anew(pool)
        with translated(f"pool {self.pool_name}"):
            volumes = [(volume.name(), volume.info()[1]) for volume in pool.listAllVolumes()]
        return {DiskId(name.removesuffix(SUFFIX)): size for name, size in sorted(volumes) if name.endswith(SUFFIX)}

    def remove(self) -> None:
        """Remove the pool and everything in its folder."""
        if self.exists():
            pool = self.session.connection.storagePoolLookupByName(self.pool_name)
            with translated(f"pool {self.pool_name}"):
                if pool.isActive():
                    self._between_copies(pool.destroy)
                pool.undefine()
        self.place.remove_folder(self.folder)

    def _has(self, disk: DiskId) -> bool:
        try:
            self.find(disk)
        except NotFound:
            return False
        return True

    def _read_anew(self, pool: Any) -> None:
        with translated(f"pool {self.pool_name}"):
            self._between_copies(lambda: pool.refresh(0))

    def _between_copies(self, act: Callable[[], object]) -> None:
        """Do what libvirt refuses while it copies a disk of the pool."""

        def done() -> bool:
            try:
                act()
            except libvirt.libvirtError as error:
                if COPYING not in error.get_error_message():
                    raise
                return False
            return True

        try:
            wait_until(done, Deadline.after(COPY_SECONDS), "end of copies", every=0.1)
        except DeadlineExceeded as error:
            raise HypervisorError(f"pool {self.pool_name}: {error}") from error
