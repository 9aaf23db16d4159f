"""A lab's virtual hard disks: files in its folder on the host."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.hypervisors.hyperv.naming import EXCHANGE, Names
from lab.hypervisors.hyperv.script import Cmdlet, Given, Pipeline, Switch
from lab.hypervisors.hyperv.session import Session
from lab.hypervisors.image import inspect_image
from lab.hypervisors.model import DiskId
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound
from lab.waiting import Deadline

COPY_SECONDS = 3600.0


@dataclass(frozen=True)
class Storage:
    """Disks and plain files of one lab; ``exchange`` is the host's folder for that on this machine."""

    session: Session
    names: Names
    exchange: Path

    def prepare(self) -> None:
        """Make the lab's folders unless they are there."""
        folders = [f"{self.names.folder}\\{name}" for name in ("disks", "seeds", "consoles", "machines")]
        made = [
            Pipeline(Cmdlet("New-Item", {"ItemType": "Directory", "Force": Switch.ON, "Path": path}), select=("Name",))
            for path in folders
        ]
        self.session.run(f"folders of {self.names.lab}", {"made": made})

    def sizes(self, pattern: str = "*") -> dict[DiskId, int]:
        """Return the size in bytes of every disk, or of those that fit a pattern."""
        listed = Cmdlet("Get-ChildItem", {"LiteralPath": self.names.disks, "Filter": f"{pattern}.vhdx"})
        query = Pipeline(listed, Cmdlet("Get-VHD", {}), select=("Path", "Size"))
        try:
            rows = self.session.read(f"disks of {self.names.lab}", {"disks": [query]})["disks"]
        except NotFound:
            return {}  # no folder yet
        found = {self.names.disk_of(str(row["Path"])): int(row["Size"]) for row in rows}
        return {disk: size for disk, size in found.items() if disk is not None}

    def size(self, disk: DiskId) -> int:
        """Return the size of a disk in bytes. Raises NotFound."""
        self.names.disk(disk)
        found = self.sizes(disk.name).get(disk)
        if found is None:
            raise NotFound(f"disk {disk.name}: does not exist")
        return found

    def require_free(self, disk: DiskId) -> str:
        """Return the path of a disk that is to be made. Raises Conflict when it is there."""
        path = self.names.disk(disk)
        if disk in self.sizes(disk.name):
            raise Conflict(f"disk {disk.name}: exists already")
        return path

    def create(self, disk: DiskId, size_bytes: int) -> None:
        """Make a disk that reads as zeros. Raises Conflict."""
        path = self.require_free(disk)
        self.prepare()
        made = Cmdlet("New-VHD", {"Path": path, "SizeBytes": size_bytes, "Dynamic": Switch.ON})
        self.session.run(f"disk {disk.name}", {"made": [Pipeline(made, select=("Path",))]})

    def upload(self, disk: DiskId, image: Path, size_bytes: int) -> int:
        """Make a disk of a raw or qcow2 image, through the exchange folder; return its size. Raises Conflict."""
        path = self.require_free(disk)
        image_bytes = inspect_image(image)[1]
        self.prepare()
        staged = self.exchange / f"{self.names.lab}-{disk.name}.vhdx"
        try:
            _to_vhdx(image, staged)
            self._copy(f"disk {disk.name} from {image.name}", f"{EXCHANGE}\\{staged.name}", path)
        finally:
            staged.unlink(missing_ok=True)
        if size_bytes > image_bytes:
            self.grow(disk, path, size_bytes)
        return max(size_bytes, image_bytes)

    def grow(self, disk: DiskId, path: str, size_bytes: int) -> None:
        """Make a disk larger. Raises HypervisorError."""
        resized = Cmdlet("Resize-VHD", {"Path": path, "SizeBytes": size_bytes})
        self.session.run(f"growth of disk {disk.name}", _only(resized))

    def convert(self, what: str, path: str, disk: DiskId) -> None:
        """Write what a file with its layers shows, which nobody writes to, to a new disk."""
        given = {"Path": path, "DestinationPath": self.names.disk(disk)}
        self.session.run(what, _only(Cmdlet("Convert-VHD", given)), Deadline.after(COPY_SECONDS))

    def delete(self, disk: DiskId) -> None:
        """Remove a disk. Raises NotFound."""
        self.remove_file(f"disk {disk.name}", self.names.disk(disk))

    def put(self, what: str, file: Path, path: str) -> None:
        """Copy a small file to the host."""
        staged = self.exchange / f"{self.names.lab}-{path.rpartition(chr(92))[2]}"
        try:
            shutil.copyfile(file, staged)
            self._copy(what, f"{EXCHANGE}\\{staged.name}", path)
        except OSError as error:
            raise HypervisorError(f"{what}: {error}") from error
        finally:
            staged.unlink(missing_ok=True)

    def fetch(self, what: str, path: str, target: Path) -> None:
        """Copy a small file from the host. Raises NotFound."""
        staged = self.exchange / f"{self.names.lab}-fetched-{target.name}"
        try:
            self._copy(what, path, f"{EXCHANGE}\\{staged.name}")
            shutil.copyfile(staged, target)
        except OSError as error:
            raise HypervisorError(f"{what}: {error}") from error
        finally:
            staged.unlink(missing_ok=True)

    def remove_file(self, what: str, path: str) -> None:
        """Remove a file. Raises NotFound."""
        self.session.run(what, _only(Cmdlet("Remove-Item", {"LiteralPath": path, "Force": Switch.ON})))

    def remove_folder(self) -> None:
        """Remove the lab's folder with what is left in it."""
        given: Given = {"LiteralPath": self.names.folder, "Recurse": Switch.ON, "Force": Switch.ON}
        with suppress(NotFound):
            self.session.run(f"folder of {self.names.lab}", _only(Cmdlet("Remove-Item", given)))

    def _copy(self, what: str, source: str, target: str) -> None:
        given: Given = {"LiteralPath": source, "Destination": target, "Force": Switch.ON}
        self.session.run(what, _only(Cmdlet("Copy-Item", given)), Deadline.after(COPY_SECONDS))


def _only(cmdlet: Cmdlet) -> dict[str, list[Pipeline]]:
    return {"done": [Pipeline(cmdlet)]}


def _to_vhdx(image: Path, target: Path) -> None:
    command = ["qemu-img", "convert", "-O", "vhdx", "-o", "subformat=dynamic", str(image), str(target)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=COPY_SECONDS)
    except subprocess.CalledProcessError as error:
        raise HypervisorError(f"image {image.name}: {error.stderr.strip()}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HypervisorError(f"image {image.name}: {error}") from error
