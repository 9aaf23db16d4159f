"""A backend without QEMU: files are real, machines only remembered. Tests write into disks where a guest would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.emulators.esxi import disk_files
from lab.emulators.esxi.backend import BackendError, CardPlug, DiskPlug, Ended, Extent, Freeze, Hardware, NoSuchBitmap
from lab.waiting import Deadline

GRAIN = 1 << 16


class MemoryBackend:
    """Implements ``backend.Backend``. An overlay is a dictionary of grains; the base is its flat file."""

    def __init__(self) -> None:
        self._running: dict[str, Hardware] = {}
        self._overlays: dict[Path, dict[int, bytes]] = {}
        self._bitmaps: dict[Path, dict[str, set[int]]] = {}
        self._ended: Ended = lambda _identity: None

    def open(self, ended: Ended) -> None:
        """Remember whom to tell."""
        self._ended = ended

    def create_disk(self, descriptor: Path, size_bytes: int) -> None:
        """Make a sparse file."""
        disk_files.create_flat(descriptor, size_bytes)

    def copy_disk(self, source: Path, target: Path) -> None:
        """Copy the flat file and what the overlays hold."""
        layers = disk_files.chain(source)
        made = disk_files.create_flat(target, layers[0].size_bytes)
        disk_files.copy_sparse(layers[0].data, made.data)
        for layer in layers[1:]:
            self._write_grains(made.data, self._overlays[layer.descriptor])

    def grow_disk(self, identity: str | None, descriptor: Path, size_bytes: int) -> None:  # noqa: ARG002 - nothing runs
        """Make the flat file longer."""
        disk_files.grow_flat(descriptor, size_bytes)

    def delete_disk(self, descriptor: Path) -> None:
        """Remove the files."""
        disk_files.delete_layer(descriptor)
        self._overlays.pop(descriptor, None)
        self._bitmaps.pop(descriptor, None)

    def start(self, hardware: Hardware) -> None:
        """Remember that it runs."""
        self._running[hardware.identity] = hardware
        if hardware.console is not None:
            hardware.console.touch()

    def stop(self, identity: str) -> None:
        """Forget that it runs."""
        self._running.pop(identity, None)

    def reset(self, identity: str) -> None:
        """Do nothing: nobody is inside."""

    def press_power_button(self, identity: str) -> None:
        """Switch off at once."""
        self.stop(identity)
        self._ended(identity)

    def plug_disk(self, identity: str, disk: DiskPlug) -> None:
        """Do nothing."""

    def unplug_disk(self, identity: str, disk: DiskPlug, deadline: Deadline) -> None:
        """Do nothing."""

    def plug_card(self, identity: str, card: CardPlug) -> None:
        """Do nothing."""

    def unplug_card(self, identity: str, card: CardPlug, deadline: Deadline) -> None:
        """Do nothing."""

    def freeze(self, identity: str, disks: Sequence[Freeze]) -> None:  # noqa: ARG002 - nothing runs
        """Start overlays."""
        for item in disks:
            layer = disk_files.read_layer(item.layer)
            if item.bitmap is not None:
                self._bitmaps.setdefault(item.layer, {})[item.bitmap] = set()
            self._begin(item.overlay, layer)

    def merge(self, identity: str, lower: Path, upper: Path, top: Path) -> None:  # noqa: ARG002 - nothing runs
        """Write the grains of the upper layer into the lower one."""
        grains = self._overlays.pop(upper)
        for changed in self._bitmaps.get(lower, {}).values():
            changed |= set(grains)
        for name, changed in self._bitmaps.pop(upper, {}).items():
            self._bitmaps.setdefault(lower, {})[name] = changed
        if lower in self._overlays:
            self._overlays[lower].update(grains)
        else:
            self._write_grains(disk_files.read_layer(lower).data, grains)

    def switch_to(self, identity: str, key: int, overlay: Path) -> None:  # noqa: ARG002 - nothing runs
        """Start an overlay."""
        parent = disk_files.read_layer(overlay).parent
        if parent is None:
            raise BackendError(f"{overlay.name} is no overlay")
        self._begin(overlay, disk_files.read_layer(parent))

    def dirty(self, identity: str, layer: Path, bitmap: str) -> list[Extent]:  # noqa: ARG002 - nothing runs
        """Return the grains of a bitmap."""
        changed = self._bitmaps.get(layer, {}).get(bitmap)
        if changed is None:
            raise NoSuchBitmap(f"{layer.name} has no bitmap {bitmap}")
        return _extents(changed, disk_files.read_layer(layer).size_bytes)

    def allocated(self, layer: Path) -> list[Extent]:
        """Return the extents of the flat file, or the grains of an overlay."""
        read = disk_files.read_layer(layer)
        if layer in self._overlays:
            return _extents(set(self._overlays[layer]), read.size_bytes)
        return disk_files.data_extents(read.data)

    def close(self) -> None:
        """Forget what runs."""
        self._running.clear()

    def write(self, top: Path, offset: int, data: bytes) -> None:
        """Write whole grains into a disk, as a guest would. For tests."""
        grains = {offset // GRAIN + at: data[at * GRAIN : (at + 1) * GRAIN] for at in range(len(data) // GRAIN)}
        for changed in self._bitmaps.get(top, {}).values():
            changed |= set(grains)
        if top in self._overlays:
            self._overlays[top].update(grains)
        else:
            self._write_grains(disk_files.read_layer(top).data, grains)

    def _begin(self, overlay: Path, layer: disk_files.Layer) -> None:
        disk_files.write_descriptor(overlay, layer.size_bytes, layer.descriptor, layer.uuid)
        disk_files.read_layer(overlay).data.touch()
        self._overlays[overlay] = {}

    def _write_grains(self, flat: Path, grains: dict[int, bytes]) -> None:
        with flat.open("r+b") as file:
            for number, data in grains.items():
                file.seek(number * GRAIN)
                file.write(data)


def _extents(grains: set[int], size_bytes: int) -> list[Extent]:
    whole = [Extent(number * GRAIN, min(GRAIN, size_bytes - number * GRAIN)) for number in grains]
    return disk_files.merged(whole)
