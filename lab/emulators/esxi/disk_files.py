"""The files of a disk (facts/vsphere.md 3.4): a text descriptor, and a raw flat file or the data of an overlay.

x.vmdk, x-flat.vmdk, x-ctk.qcow2             a disk; the last holds bitmaps of changes, in the role of -ctk.vmdk
x-000001.vmdk, x-000001-delta.qcow2          an overlay; its descriptor names its parent
"""

from __future__ import annotations

import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from lab.emulators.esxi.backend import BackendError, Extent

SECTOR = 512
MOST_DESCRIPTOR = 1 << 16
BLOCK = 1 << 20
_EXTENT = re.compile(r'^RW (\d+) \w+ "([^"/]+)"', re.MULTILINE)
_PARENT = re.compile(r'^parentFileNameHint="([^"/]+)"', re.MULTILINE)
_UUID = re.compile(r'^ddb\.uuid = "([0-9a-fA-F -]+)"', re.MULTILINE)
_OVERLAY = re.compile(r"-\d{6}$")


@dataclass(frozen=True)
class Layer:
    """One descriptor file, read."""

    descriptor: Path
    size_bytes: int
    parent: Path | None
    uuid: str

    @property
    def data(self) -> Path:
        """The file with the content."""
        suffix = "-flat.vmdk" if self.parent is None else "-delta.qcow2"
        return self.descriptor.with_name(self.descriptor.stem + suffix)

    @property
    def tracking(self) -> Path | None:
        """The file with the bitmaps of a disk that is no overlay; an overlay keeps them beside its data."""
        return self.descriptor.with_name(self.descriptor.stem + "-ctk.qcow2") if self.parent is None else None

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that belongs to the layer."""
        more = (self.tracking,) if self.tracking is not None else ()
        return (self.descriptor, self.data, *more)


def read_layer(descriptor: Path) -> Layer:
    """Return what a descriptor says. Raises BackendError when it is none."""
    try:
        with descriptor.open("rb") as file:
            text = file.read(MOST_DESCRIPTOR).decode("utf-8", "replace")
    except OSError as error:
        raise BackendError(f"{descriptor.name}: {error.strerror}") from error
    extent, parent, identity = _EXTENT.search(text), _PARENT.search(text), _UUID.search(text)
    if extent is None:
        raise BackendError(f"{descriptor.name} is no descriptor of a disk")
    return Layer(
        descriptor=descriptor,
        size_bytes=int(extent[1]) * SECTOR,
        parent=descriptor.with_name(parent[1]) if parent else None,
        uuid=(identity[1] if identity else "").replace("-", " "),
    )


def chain(descriptor: Path) -> list[Layer]:
    """Return the layers of a disk, the base first. Raises BackendError for a broken chain."""
    found = [read_layer(descriptor)]
    while (parent := found[-1].parent) is not None:
        if any(layer.descriptor == parent for layer in found):
            raise BackendError(f"{descriptor.name}: its parents form a ring")
        found.append(read_layer(parent))
    return found[::-1]


def write_descriptor(descriptor: Path, size_bytes: int, parent: Path | None, identity: str) -> None:
    """Write the text of a layer."""
    layer = Layer(descriptor, size_bytes, parent, identity)
    kind = "vmfs" if parent is None else "vmfsSparse"
    hint = f'parentFileNameHint="{parent.name}"\n' if parent is not None else ""
    extent = f'RW {size_bytes // SECTOR} {kind.upper()} "{layer.data.name}"'
    text = (
        f'# Disk DescriptorFile\nversion=1\nencoding="UTF-8"\nCID=fffffffe\n'
        f'parentCID={"ffffffff" if parent is None else "fffffffe"}\ncreateType="{kind}"\n{hint}\n'
        f"# Extent description\n{extent}\n\n# The Disk Data Base\n#DDB\n\n"
        f'ddb.adapterType = "lsilogic"\nddb.uuid = "{identity}"\nddb.virtualHWVersion = "19"\n'
    )
    temporary = descriptor.with_name(f".{descriptor.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(descriptor)


def create_flat(descriptor: Path, size_bytes: int) -> Layer:
    """Make a sparse disk. Raises BackendError when there is one."""
    if size_bytes <= 0 or size_bytes % SECTOR:
        raise BackendError(f"{descriptor.name}: a size in whole sectors is expected, not {size_bytes}")
    try:
        with descriptor.open("x", encoding="utf-8"):
            pass
    except FileExistsError as error:
        raise BackendError(f"{descriptor.name} exists already") from error
    write_descriptor(descriptor, size_bytes, None, disk_uuid())
    layer = read_layer(descriptor)
    with layer.data.open("wb") as file:
        file.truncate(size_bytes)
    return layer


def grow_flat(descriptor: Path, size_bytes: int) -> None:
    """Make the data of a disk longer, unless it is already, and its descriptor say so. Raises BackendError."""
    layer = read_layer(descriptor)
    if layer.parent is not None:
        raise BackendError(f"{descriptor.name} has a parent, so its size is not its own")
    if size_bytes < layer.size_bytes or size_bytes % SECTOR:
        raise BackendError(f"{descriptor.name}: {layer.size_bytes} bytes cannot become {size_bytes}")
    with layer.data.open("r+b") as file:
        if file.seek(0, os.SEEK_END) < size_bytes:
            file.truncate(size_bytes)
    write_descriptor(descriptor, size_bytes, None, layer.uuid)


def delete_layer(descriptor: Path) -> None:
    """Remove the files of a layer."""
    for file in read_layer(descriptor).files:
        file.unlink(missing_ok=True)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy the data of a flat file into another one of the same size."""
    with source.open("rb") as reader, target.open("r+b") as writer:
        for extent in data_extents(source):
            reader.seek(extent.start)
            writer.seek(extent.start)
            left = extent.length
            while left > 0:
                block = reader.read(min(BLOCK, left))
                if not block:
                    break
                writer.write(block)
                left -= len(block)


def data_extents(file: Path) -> list[Extent]:
    """Return where a sparse file holds data, to the block of its file system."""
    found = []
    with file.open("rb") as opened:
        end = opened.seek(0, os.SEEK_END)
        position = 0
        while position < end:
            try:
                start = os.lseek(opened.fileno(), position, os.SEEK_DATA)
            except OSError:  # no data behind this position
                break
            position = os.lseek(opened.fileno(), start, os.SEEK_HOLE)
            found.append(Extent(start, position - start))
    return found


def merged(extents: list[Extent]) -> list[Extent]:
    """Return the union of some extents, in order, without touching neighbours."""
    found: list[Extent] = []
    for extent in sorted(extents, key=lambda each: each.start):
        if found and extent.start <= found[-1].start + found[-1].length:
            end = max(found[-1].start + found[-1].length, extent.start + extent.length)
            found[-1] = Extent(found[-1].start, end - found[-1].start)
        elif extent.length:
            found.append(extent)
    return found


def next_overlay(descriptor: Path) -> Path:
    """Return the name of a new overlay over the disk that ``descriptor`` is a layer of."""
    stem = _OVERLAY.sub("", descriptor.stem)
    numbers = (number for number in range(1, 1_000_000))
    names = (descriptor.with_name(f"{stem}-{number:06d}.vmdk") for number in numbers)
    return next(name for name in names if not name.exists())


def disk_uuid() -> str:
    """Return an identity in the way that disks write it."""
    digits = "6000c29" + uuid.uuid4().hex[7:]
    pairs = [digits[at : at + 2] for at in range(0, 32, 2)]
    return f"{' '.join(pairs[:8])}-{' '.join(pairs[8:])}"
