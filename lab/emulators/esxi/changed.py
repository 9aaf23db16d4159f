"""QueryChangedDiskAreas: a change id names a disk and a moment, and the answer is exact for one snapshot.

What changed from a moment up to a snapshot is what was merged since into the layer that was frozen at that moment (a
bitmap of QEMU's tells) and what the overlays between it and the snapshot's layer hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from lab.emulators.esxi.backend import Extent, NoSuchBitmap
from lab.emulators.esxi.datastore import disk_faults
from lab.emulators.esxi.disk_files import Layer, merged

if TYPE_CHECKING:
    from lab.emulators.esxi.machine import VirtualMachine

EVERYTHING = "*"


def change_id(disk_uuid: str, number: int) -> str:
    """Return the id of a moment of a disk."""
    return f"{disk_uuid}/{number}"


def bitmap_name(number: int) -> str:
    """Return the name of the bitmap that began at a moment."""
    return f"cbt{number}"


def areas(machine: VirtualMachine, disk: Any, start: int, since: str) -> Any:
    """Return a DiskChangeInfo from ``start`` on. Raises FileFault for a foreign or lost change id, InvalidArgument."""
    layers = machine.layers(disk)
    capacity = layers[0].size_bytes
    if not 0 <= start < capacity:
        raise vmodl.fault.InvalidArgument(invalidProperty="startOffset", msg=f"startOffset {start} is not in the disk")
    if not machine.config.changeTrackingEnabled:
        raise _fault(disk, "change tracking is not enabled")
    with disk_faults(disk.backing.fileName):
        extents = _everything(machine, layers) if since == EVERYTHING else _since(machine, disk, layers, since)
    found = [extent for item in extents if (extent := _clipped(item, start, capacity)) is not None]
    told = found[: machine.site.most_areas]
    end = capacity if len(told) == len(found) else told[-1].start + told[-1].length
    return vim.VirtualMachine.DiskChangeInfo(
        startOffset=start,
        length=end - start,
        changedArea=[
            vim.VirtualMachine.DiskChangeInfo.DiskChangeExtent(start=item.start, length=item.length) for item in told
        ],
    )


def _everything(machine: VirtualMachine, layers: list[Layer]) -> list[Extent]:
    backend = machine.site.backend
    return merged([extent for layer in layers for extent in backend.allocated(layer.descriptor)])


def _since(machine: VirtualMachine, disk: Any, layers: list[Layer], since: str) -> list[Extent]:
    identity, _, number = since.rpartition("/")
    if identity != layers[0].uuid or not number.isdigit():
        raise _fault(disk, f"change id {since!r} is not one of this disk")
    backend = machine.site.backend
    above: list[Extent] = []
    for layer in reversed(layers):
        try:
            changes = backend.dirty(machine.identity, layer.descriptor, bitmap_name(int(number)))
        except NoSuchBitmap:
            above += backend.allocated(layer.descriptor)
            continue
        return merged([*changes, *above])
    raise _fault(disk, f"nothing is known since change id {since!r}")


def _clipped(extent: Extent, start: int, capacity: int) -> Extent | None:
    begin, end = max(extent.start, start), min(extent.start + extent.length, capacity)
    return Extent(begin, end - begin) if end > begin else None


def _fault(disk: Any, message: str) -> Any:
    return vim.fault.FileFault(
        file=disk.backing.fileName, msg=f"Error caused by file {disk.backing.fileName}: {message}"
    )
