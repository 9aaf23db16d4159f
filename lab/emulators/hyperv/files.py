"""The files of the emulated host by their Windows paths: virtual hard disks of the backend, and plain files."""

from __future__ import annotations

import hashlib
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from lab.emulators.hyperv import errors
from lab.hypervisors.model import DiskId

EXCHANGE = PureWindowsPath("C:\\recovery-lab\\exchange")
"""What is in this folder is in the folder ``exchange`` of the emulator's home: on a real host it would be a share."""
_DISKS = re.compile(r"c:\\recovery-lab\\([a-z0-9-]+)\\disks\\([a-z0-9_.-]+)\.a?vhdx", re.IGNORECASE)


@dataclass(frozen=True)
class VirtualDisk:
    """A virtual hard disk. ``parent`` is the path of the disk that it differs from."""

    path: str
    disk: DiskId
    kind: str
    """A name of the enum VhdType."""
    parent: str | None = None


@dataclass(frozen=True)
class PlainFile:
    """Any other file; its content is in ``real``, which is deleted with it only when it is our own."""

    path: str
    real: Path
    owned: bool = True


Entry = VirtualDisk | PlainFile


class Files:
    """The catalogue. Paths are compared as Windows does: without case."""

    def __init__(self, home: Path, lab: str) -> None:
        self.exchange = home / "exchange"
        self._plain = home / "files"
        self._lab = lab
        self.exchange.mkdir(mode=0o700, parents=True, exist_ok=True)
        # QEMU's user opens seeds of machines in here, and cannot list them.
        self._plain.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._entries: dict[str, Entry] = {}

    def find(self, path: str) -> Entry:
        """Return a file. Raises CmdletError."""
        known = self._entries.get(_key(path))
        if known is not None:
            return known
        real = self._exchanged(path)
        if real is None or not real.is_file():
            raise errors.no_path(path)
        return PlainFile(path, real)

    def disk(self, path: str) -> VirtualDisk:
        """Return a virtual hard disk. Raises CmdletError, also for a file that is none."""
        found = self.find(path)
        if not isinstance(found, VirtualDisk):
            raise errors.missing(f"A virtual hard disk at '{path}'")
        return found

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        real = self._exchanged(path)
        return _key(path) in self._entries or (real is not None and real.is_file())

    def below(self, folder: str) -> list[Entry]:
        """Return the files right in a folder, by path."""
        prefix = PureWindowsPath(_key(folder))
        return [entry for key, entry in sorted(self._entries.items()) if PureWindowsPath(key).parent == prefix]

    def new_disk(self, path: str, kind: str, parent: str | None = None) -> VirtualDisk:
        """Return a virtual hard disk that is not in the catalogue yet. Raises CmdletError."""
        if self.has(path):
            raise errors.exists(path)
        if PureWindowsPath(path).suffix.casefold() not in {".vhdx", ".avhdx"} or not _absolute(path):
            raise errors.CmdletError("InvalidParameter", f"'{path}' is no path of a virtual hard disk (.vhdx).")
        return VirtualDisk(path, self._disk_name(path), kind, parent)

    def keep(self, entry: Entry) -> None:
        """Add a file."""
        self._entries[_key(entry.path)] = entry

    def forget(self, path: str) -> None:
        """Remove a virtual hard disk from the catalogue."""
        self._entries.pop(_key(path), None)

    def copy(self, source: PlainFile, path: str) -> None:
        """Copy a plain file; one that is there is replaced. Raises CmdletError."""
        if not _absolute(path):
            raise errors.no_path(path)
        present = self._entries.get(_key(path))
        if isinstance(present, VirtualDisk):
            raise errors.in_use(path)
        exchanged = self._exchanged(path)
        kept = present.real if present is not None and present.owned else self._plain / uuid.uuid4().hex
        real = exchanged or kept
        shutil.copyfile(source.real, real)
        if exchanged is None:
            self.keep(PlainFile(path, real))

    def delete(self, entry: PlainFile) -> None:
        """Delete a plain file."""
        self.forget(entry.path)
        if entry.owned:
            entry.real.unlink(missing_ok=True)

    def _exchanged(self, path: str) -> Path | None:
        """Return the real file of a path in the exchange folder; names that lead out of it are none."""
        found = PureWindowsPath(path)
        if _key(str(found.parent)) != _key(str(EXCHANGE)) or found.name in {"", ".", ".."} or "/" in found.name:
            return None
        return self.exchange / found.name

    def _disk_name(self, path: str) -> DiskId:
        """Return the name of a disk below: its own in the folder of our lab, else one that no other path has."""
        found = _DISKS.fullmatch(path)
        if found and found[1].casefold() == self._lab.casefold():
            return DiskId(PureWindowsPath(path).stem)
        stem = re.sub(r"[^A-Za-z0-9_.-]", "-", PureWindowsPath(path).stem)
        return DiskId(f"{hashlib.sha256(_key(path).encode()).hexdigest()[:8]}-{stem}")


def _absolute(path: str) -> bool:
    found = PureWindowsPath(path)
    return found.is_absolute() and ".." not in found.parts


def _key(path: str) -> str:
    return str(PureWindowsPath(path)).casefold()
