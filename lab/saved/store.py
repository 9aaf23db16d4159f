"""The folder of saved labs: whole ones under their keys, half-made ones under a lock that ends with their maker."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import BadInput, LabError
from lab.hypervisors.sparse import content_digest
from lab.locks import held, taken
from lab.saved.model import DESCRIPTION, Saved, SavedFile
from lab.waiting import Deadline

_TAKING = "taking-"
_LOCK = "lock"
TURN_SECONDS = 120.0
"""Removing a saved lab takes seconds."""


@dataclass(frozen=True)
class Entry:
    """A saved lab where it is."""

    folder: Path
    saved: Saved

    @property
    def bytes(self) -> int:
        """What it takes of the disk."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.rglob("*") if path.is_file())

    @property
    def used(self) -> float:
        """When somebody last went on from it, else when it was taken; seconds since 1970."""
        return (self.folder / DESCRIPTION).stat().st_mtime

    def touch(self) -> None:
        """Say that it is used now."""
        os.utime(self.folder / DESCRIPTION)

    def damage(self) -> list[str]:
        """Return the files that are gone, or of another size or time. Quick: it opens none."""
        return [name for name, file in sorted(self.saved.files.items()) if not _untouched(self.folder / name, file)]

    def verify(self) -> list[str]:
        """Return the files whose content is not what was saved. Reads everything."""
        damaged = set(self.damage())
        for name, file in self.saved.files.items():
            if name not in damaged and content_digest(self.folder / name) != file.digest:
                damaged.add(name)
        return sorted(damaged)


@dataclass(frozen=True)
class SavedLabs:
    """All saved labs of a home."""

    folder: Path

    def all(self) -> list[Entry]:
        """Return every whole saved lab, the last used first; a description that cannot be read is skipped."""
        found = [self._entry(path.parent) for path in self._descriptions()]
        return sorted((entry for entry in found if entry is not None), key=lambda entry: -entry.used)

    def unreadable(self) -> list[Path]:
        """Return folders whose description cannot be read: by another version of the lab, or damaged."""
        return [path.parent for path in self._descriptions() if self._entry(path.parent) is None]

    def lookup(self, key: str) -> Entry | None:
        """Return the saved lab of a key, None when there is none that can be read."""
        return self._entry(self.folder / key)

    def named(self, key: str) -> Entry:
        """Return the one saved lab whose key begins so. Raises BadInput."""
        fitting = [entry for entry in self.all() if key and entry.saved.key.startswith(key)]
        if len(fitting) != 1:
            known = ", ".join(entry.saved.key for entry in self.all()) or "none"
            raise BadInput(f"{len(fitting)} saved labs have a key that begins with {key!r}; there are: {known}")
        return fitting[0]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from removing saved labs, and from saying that they use one. Raises LabError."""
        self._make()
        with held(self.folder / _LOCK, Deadline.after(TURN_SECONDS), "turn with saved labs"):
            yield

    @contextmanager
    def taking(self, key: str) -> Iterator[Path]:
        """Yield an empty folder, which becomes the saved lab of the key if the block ends well, and goes if not.

        The description has to be in it by then. Another one of the same key that came meanwhile stays.
        """
        with ExitStack() as stack:
            with self.locked():
                self._sweep()
                folder = Path(tempfile.mkdtemp(prefix=_TAKING, dir=self.folder))
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                # Whoever finds the folder without this lock knows that its maker is gone.
                fcntl.flock(stack.enter_context((folder / _LOCK).open("w")), fcntl.LOCK_EX)
            # QEMU's user has to pass through to the disks.
            folder.chmod(0o711)
            yield folder
            with self.locked():
                target = self.folder / key
                if self.lookup(key) is None:
                    shutil.rmtree(target, ignore_errors=True)
                    folder.rename(target)
                    (target / _LOCK).unlink()

    def sweep(self) -> list[str]:
        """Remove what makers that are gone left half made, and return the names."""
        with self.locked():
            return self._sweep()

    def _sweep(self) -> list[str]:
        removed = []
        for folder in sorted(self.folder.glob(f"{_TAKING}*")):
            if _abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder.name)
        return removed

    def forget(self, entry: Entry, used: Collection[str]) -> None:
        """Remove a saved lab. Raises LabError when a lab is up that stands on it (``used``: keys)."""
        with self.locked():
            if entry.saved.key in used:
                raise LabError(f"a lab that is up stands on saved lab {entry.saved.key}", hint="lab status, lab down")
            self._remove(entry.folder)

    def remove_unreadable(self, folder: Path) -> None:
        """Remove a folder whose description nobody can read."""
        with self.locked():
            self._remove(folder)

    def bound(self, most_bytes: int, used: Collection[str], keep: str) -> list[str]:
        """Remove the least recently used ones until all take ``most_bytes`` at most; return their keys.

        Those that a lab stands on stay, and so does ``keep``.
        """
        with self.locked():
            entries, gone = self.all(), []
            total = sum(entry.bytes for entry in entries)
            for entry in reversed(entries):
                if total <= most_bytes:
                    break
                if entry.saved.key not in {*used, keep}:
                    total -= entry.bytes
                    self._remove(entry.folder)
                    gone.append(entry.saved.key)
        return gone

    def _remove(self, folder: Path) -> None:
        # Under another name first: what is half removed is nobody's saved lab.
        doomed = folder.with_name(f"{_TAKING}{folder.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        shutil.rmtree(doomed)

    def _make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)

    def _descriptions(self) -> list[Path]:
        found = sorted(self.folder.glob(f"*/{DESCRIPTION}")) if self.folder.is_dir() else []
        return [path for path in found if not path.parent.name.startswith(_TAKING)]

    def _entry(self, folder: Path) -> Entry | None:
        try:
            saved = Saved.model_validate_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return Entry(folder, saved) if saved.key == folder.name else None


def describe_files(folder: Path) -> dict[str, SavedFile]:
    """Return what is known of every file below a folder, by its path there."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _LOCK):
        stat = path.stat()
        digest = content_digest(path)
        found[path.relative_to(folder).as_posix()] = SavedFile(
            size=stat.st_size, mtime_ns=stat.st_mtime_ns, digest=digest
        )
    return found


def _untouched(path: Path, file: SavedFile) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_size == file.size and found.st_mtime_ns == file.mtime_ns


def _abandoned(folder: Path) -> bool:
    """Whether nobody holds the lock of a half-made folder; one without a lock was just being made or removed."""
    try:
        with (folder / _LOCK).open() as lock:
            return taken(lock)
    except FileNotFoundError:
        return True
