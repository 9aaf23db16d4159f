"""Disk images of a host: made, copied and deleted in the folders that the provider may use, by names that it gives."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.replication.common.control import CommandFailed

TOOL_S = 3600.0
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,80}\Z")


class ImageFolders:
    """The folders, of which the first is for new images. A path outside of them is refused, whoever names it."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = [folder.resolve() for folder in folders]

    def find(self, place: str) -> Path | None:
        """Return the image that a path names, None when there is none in these folders."""
        path = Path(place).resolve()
        inside = any(path.is_relative_to(folder) for folder in self._folders)
        return path if inside and path.is_file() else None

    def replica(self, machine: str, disk: str) -> Path:
        """Return where the replica of a machine's disk is."""
        return self._named(f"{machine}-{disk}-replica")

    def copy(self, guest: str, disk: str) -> Path:
        """Return where the disk of a machine is that was made of a replica."""
        return self._named(f"{guest}-{disk}-copy")

    def create(self, path: Path, size: int) -> None:
        """Make an empty image; one that is there is replaced. Raises CommandFailed."""
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        _qemu_img("create", "-q", "-f", "qcow2", str(path), str(size))

    def duplicate(self, source: Path, target: Path) -> None:
        """Copy an image that nobody writes just now; one that is there is replaced. Raises CommandFailed."""
        target.unlink(missing_ok=True)
        # The receiver has the image open: what it has flushed is all that counts.
        _qemu_img("convert", "-q", "-U", "-f", "qcow2", "-O", "qcow2", str(source), str(target))

    def rename(self, source: Path, target: Path) -> None:
        """Give an image another name; done again, it changes nothing. Raises CommandFailed when there is neither."""
        if source.exists():
            source.replace(target)
        if not target.exists():
            raise CommandFailed("image-missing", f"there is no image {source.name}")

    def delete(self, path: Path) -> None:
        """Delete an image, if it is there."""
        path.unlink(missing_ok=True)

    def _named(self, name: str) -> Path:
        if not NAME.match(name):
            raise CommandFailed("bad-name", f"{name!r} is no name of an image")
        return self._folders[0] / f"{name}.qcow2"


def _qemu_img(*arguments: str) -> None:
    done = subprocess.run(["qemu-img", *arguments], check=False, capture_output=True, timeout=TOOL_S)
    if done.returncode:
        raise CommandFailed("image-failed", f"qemu-img {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
