"""A backend that only remembers: for tests of the emulator and of the driver, without QEMU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lab.emulators.hyperv.backend import BackendError
from lab.emulators.hyperv.images import size_of
from lab.hypervisors.memory import MemoryHypervisor
from lab.hypervisors.model import DiskId
from lab.hypervisors.protocols import HypervisorError


class MemoryBackend:
    """Implements ``backend.Backend``. Disks have a size and no content; nobody is inside the machines."""

    def __init__(self, lab: str = "memory") -> None:
        self.host = MemoryHypervisor()
        self.lab = lab

    def clear(self) -> None:
        """Forget everything."""
        self.host = MemoryHypervisor()

    def fill(self, disk: DiskId, image: Path) -> None:
        """Check that both are there."""
        if self._size(disk) < size_of(image):
            raise BackendError(f"disk {disk.name} is smaller than {image.name}")

    def image_bytes(self, image: Path) -> int:
        """Return the size of the disk that a file holds."""
        return size_of(image)

    def flatten(self, source: DiskId, disk: DiskId) -> None:
        """Check that both are there."""
        if self._size(disk) != self._size(source):
            raise BackendError(f"disk {disk.name} has another size than {source.name}")

    def overlay(self, disk: DiskId, parent: DiskId) -> None:
        """Remember a disk of the same size."""
        self.host.create_disk(disk, self._size(parent))

    def freeze(self, machine: str, overlays: Mapping[DiskId, DiskId]) -> None:
        """Change the disks of a machine in its remembered specification."""
        self.host.swap_disks(machine, overlays)

    def merge(self, machine: str | None, lower: DiskId, upper: DiskId, above: DiskId | None) -> None:
        """Forget the upper layer."""
        if machine is not None and above is None:
            self.host.swap_disks(machine, {upper: lower})
        self.host.delete_disk(upper)

    def pause(self, machine: str) -> None:
        """Remember it."""
        self.host.pause(machine)

    def resume(self, machine: str) -> None:
        """Remember it."""
        self.host.power_on(machine)

    def reset(self, machine: str) -> None:
        """Check that it is there."""
        self.host.power(machine)

    def close(self) -> None:
        """Do nothing."""

    def _size(self, disk: DiskId) -> int:
        try:
            return self.host.disk(disk).size_bytes
        except HypervisorError as error:
            raise BackendError(str(error)) from error
