"""What an emulated host does with real machines and disks: a driver of this machine, and the little that it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from lab.hypervisors.model import DiskId
from lab.hypervisors.protocols import Hypervisor


class BackendError(Exception):
    """QEMU, libvirt or the file system refused; the message quotes it."""


class Backend(Protocol):
    """Machines and disks of one lab on this machine. Calls about one machine do not overlap."""

    @property
    def host(self) -> Hypervisor:
        """Machines, power and disks."""

    @property
    def lab(self) -> str:
        """The lab whose tag everything carries, and whose switches are there."""

    def clear(self) -> None:
        """Remove every object of the lab: at the end, and at the start what a crash left behind."""

    def fill(self, disk: DiskId, image: Path) -> None:
        """Write the content of a file (raw, qcow2 or VHDX) to a disk that is at least as large. Raises BackendError."""

    def image_bytes(self, image: Path) -> int:
        """Return the size of the disk that a file holds. Raises BackendError."""

    def flatten(self, source: DiskId, disk: DiskId) -> None:
        """Write what a disk that nobody writes to shows, layers and all, to a disk of the same size."""

    def overlay(self, disk: DiskId, parent: DiskId) -> None:
        """Make a disk that begins as its parent and keeps its own writes."""

    def freeze(self, machine: str, overlays: Mapping[DiskId, DiskId]) -> None:
        """Let a running machine write to the overlay (value), which is there, of each disk (key) from one moment on."""

    def merge(self, machine: str | None, lower: DiskId, upper: DiskId, above: DiskId | None) -> None:
        """Move what ``upper`` holds into ``lower``, its parent, and remove it.

        ``machine`` runs on it, None: nobody; ``above`` is the layer over ``upper``, None: there is none.
        """

    def pause(self, machine: str) -> None:
        """Stop the processors."""

    def resume(self, machine: str) -> None:
        """Let the processors go on."""

    def reset(self, machine: str) -> None:
        """Press the reset button."""

    def close(self) -> None:
        """Release the connection."""
