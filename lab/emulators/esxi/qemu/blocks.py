"""Snapshots, merges and bitmaps over QMP: the same commands in a running machine and in a QEMU without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.emulators.esxi import disk_files
from lab.emulators.esxi.backend import BackendError, Extent, Freeze, NoSuchBitmap
from lab.emulators.esxi.qemu import tools
from lab.emulators.esxi.qemu.arguments import block_node, block_nodes, node_name
from lab.emulators.esxi.qemu.process import Qemu
from lab.waiting import Deadline, wait_until

MOST_BITMAPS = 32
RELEASE_SECONDS = 10.0


def open_disk(qemu: Qemu, descriptor: Path) -> None:
    """Add the block nodes of a disk."""
    for node in block_nodes(disk_files.chain(descriptor)):
        qemu.execute("blockdev-add", **node)


def close_disk(qemu: Qemu, descriptor: Path) -> None:
    """Remove the block nodes of a disk, the topmost first."""
    for layer in reversed(disk_files.chain(descriptor)):
        node = node_name(layer.descriptor)
        # QEMU lets go of a device's disk a moment after the device is gone.
        what = f"release of {layer.descriptor.name} by QEMU"
        wait_until(lambda name=node: _deleted(qemu, name), Deadline.after(RELEASE_SECONDS), what, every=0.05)  # type: ignore[misc]


def _deleted(qemu: Qemu, node: str) -> bool:
    try:
        qemu.execute("blockdev-del", **{"node-name": node})
    except BackendError as error:
        if "in use" in str(error):
            return False
        raise
    return True


def freeze(qemu: Qemu, disks: Sequence[Freeze]) -> None:
    """Put overlays over some disks and start their bitmaps, all in one moment."""
    actions: list[dict[str, Any]] = []
    for item in disks:
        below = disk_files.read_layer(item.layer)
        disk_files.write_descriptor(item.overlay, below.size_bytes, item.layer, below.uuid)
        overlay = disk_files.read_layer(item.overlay)
        tools.make_overlay(overlay)
        qemu.execute("blockdev-add", **block_node(overlay, None))
        if item.bitmap is not None:
            _drop_oldest(qemu, node_name(item.layer))
            data = {"node": node_name(item.layer), "name": item.bitmap, "persistent": True}
            actions.append({"type": "block-dirty-bitmap-add", "data": data})
        data = {"node": node_name(item.layer), "overlay": node_name(item.overlay)}
        actions.append({"type": "blockdev-snapshot", "data": data})
    qemu.execute("transaction", actions=actions)


def merge(qemu: Qemu, lower: Path, upper: Path, top: Path) -> None:
    """Commit a layer into its parent. The parent's bitmaps see these writes; the layer's bitmaps move along."""
    below, above, job = node_name(lower), node_name(upper), f"merge-{node_name(upper)}"
    moved = [name for name in bitmaps(qemu, above) if name not in bitmaps(qemu, below)]
    for name in moved:
        # Disabled, so that the merge itself does not count as a change since that bitmap began.
        qemu.execute("block-dirty-bitmap-add", node=below, name=name, persistent=True, disabled=True)
        source = {"node": above, "name": name}
        qemu.execute("block-dirty-bitmap-merge", node=below, target=name, bitmaps=[source])
    qemu.execute(
        "block-commit",
        **{
            "job-id": job,
            "device": node_name(top),
            "top-node": above,
            "base-node": below,
            "auto-dismiss": False,
        },
    )
    qemu.wait_job(job)
    for name in moved:
        qemu.execute("block-dirty-bitmap-enable", node=below, name=name)
    qemu.execute("blockdev-del", **{"node-name": above})


def dirty(qemu: Qemu, layer: Path, bitmap: str) -> list[Extent]:
    """Return the dirty ranges of a bitmap. Raises NoSuchBitmap."""
    node = node_name(layer)
    if bitmap not in bitmaps(qemu, node):
        raise NoSuchBitmap(f"{layer.name} has no bitmap {bitmap}")
    socket = qemu.folder / "nbd.sock"
    if not socket.exists():
        qemu.execute("nbd-server-start", addr={"type": "unix", "data": {"path": str(socket)}})
    export = f"x{bitmap}"
    qemu.execute("block-export-add", type="nbd", id=export, name=export, bitmaps=[bitmap], **{"node-name": node})
    try:
        return tools.dirty_extents(socket, export, bitmap)
    finally:
        qemu.execute("block-export-del", id=export, mode="hard")


def bitmaps(qemu: Qemu, node: str) -> list[str]:
    """Return the usable bitmaps of a node, the oldest first."""
    nodes = {item["node-name"]: item for item in qemu.execute("query-named-block-nodes", flat=True)}
    found = nodes.get(node, {}).get("dirty-bitmaps", [])
    names = [item["name"] for item in found if not item.get("inconsistent") and "name" in item]
    return sorted(names, key=_age)


def _drop_oldest(qemu: Qemu, node: str) -> None:
    """Bitmaps cost memory: who comes with a change id that old copies everything."""
    for name in bitmaps(qemu, node)[: -(MOST_BITMAPS - 1)]:
        qemu.execute("block-dirty-bitmap-remove", node=node, name=name)


def _age(name: str) -> int:
    digits = name.removeprefix("cbt")
    return int(digits) if digits.isdigit() else 0
