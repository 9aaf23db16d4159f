"""Folders of the host on which libvirt runs, which is this one or a machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol


class Place(Protocol):
    """Where a host keeps the files of a lab."""

    def make_folder(self, path: Path) -> None:
        """Make a folder with those above it, unless it is there. QEMU's user can pass."""

    def remove_folder(self, path: Path) -> None:
        """Remove a folder with all in it, if it is there."""


class LocalPlace:
    """This host."""

    def make_folder(self, path: Path) -> None:
        """Make a folder."""
        path.mkdir(parents=True, exist_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove a folder."""
        shutil.rmtree(path, ignore_errors=True)
