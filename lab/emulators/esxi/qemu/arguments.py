"""From hardware to QEMU's arguments and block nodes. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.emulators.esxi.backend import CardPlug, DiskPlug, Hardware, UserLink
from lab.emulators.esxi.disk_files import Layer
from lab.hypervisors.translated import PROCESSOR, TRANSLATION_CACHE_MIB, processors
from lab.networks.protocol import StreamWiring, TapWiring, Wiring

PROGRAM = "qemu-system-x86_64"
ACCELERATORS = {
    "kvm": ["-accel", "kvm", "-cpu", "host"],
    "tcg": ["-accel", f"tcg,tb-size={TRANSLATION_CACHE_MIB}", "-cpu", PROCESSOR],
}


def node_name(descriptor: Path) -> str:
    """Return the name of a layer's block node; QEMU allows 31 characters."""
    return "n" + hashlib.sha256(str(descriptor).encode()).hexdigest()[:20]


def block_node(layer: Layer, backing: str | None) -> dict[str, Any]:
    """Return the blockdev of one layer. The files that a header names are overridden: they may have been moved."""
    node: dict[str, Any] = {"driver": "qcow2", "node-name": node_name(layer.descriptor), "discard": "unmap"}
    if layer.tracking is not None:
        return {**node, "file": _file(layer.tracking), "data-file": {**_file(layer.data), "discard": "unmap"}}
    return {**node, "file": _file(layer.data), "backing": backing}


def block_nodes(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """Return the blockdevs of a whole disk, the base first."""
    backings = [None, *(node_name(layer.descriptor) for layer in layers)]
    return [block_node(layer, backing) for layer, backing in zip(layers, backings, strict=False)]


def device_id(key: int) -> str:
    """Return the name of the device with a vSphere key."""
    return f"device{key}"


def netdev_id(key: int) -> str:
    """Return the name of the network end of a card."""
    return f"net{key}"


def disk_device(disk: DiskPlug) -> dict[str, Any]:
    """Return the device of a disk. The guest finds it by its serial."""
    return {
        "driver": "virtio-blk-pci",
        "id": device_id(disk.key),
        "drive": node_name(disk.descriptor),
        "serial": disk.serial,
    }


def card_device(card: CardPlug) -> dict[str, Any]:
    """Return the device of a card."""
    device = {"driver": "virtio-net-pci", "id": device_id(card.key), "mac": card.mac, "romfile": ""}
    return device if card.link is None else {**device, "netdev": netdev_id(card.key)}


def netdev(card: CardPlug, wiring: Wiring | None) -> dict[str, Any] | None:
    """Return the network end of a card, None for a card without a cable."""
    name = netdev_id(card.key)
    if isinstance(card.link, UserLink):
        forward = {"str": f"tcp:127.0.0.1:{card.link.port}-:22"}
        return {"type": "user", "id": name, "restrict": card.link.restricted, "hostfwd": [forward]}
    if isinstance(wiring, TapWiring):
        return {"type": "tap", "id": name, "ifname": wiring.device, "script": "no", "downscript": "no"}
    if isinstance(wiring, StreamWiring):
        return {"type": "stream", "id": name, "server": False, "addr": {"type": "unix", "path": str(wiring.socket)}}
    return None


def machine_arguments(
    hardware: Hardware, layers: Sequence[Sequence[Layer]], netdevs: Sequence[dict[str, Any]], acceleration: str
) -> list[str]:
    """Return the arguments of a machine without its name and monitor; ``layers`` are those of each disk."""
    words = ["-machine", "pc", *ACCELERATORS[acceleration], "-m", str(hardware.memory_mib)]
    words += ["-smp", processors(hardware.cpus, translated=acceleration == "tcg")]
    words += ["-nodefaults", "-display", "none", "-device", "virtio-rng-pci"]
    for position, (disk, chain) in enumerate(zip(hardware.disks, layers, strict=True)):
        for node in block_nodes(chain):
            words += ["-blockdev", json.dumps(node)]
        device = disk_device(disk) | ({"bootindex": 1} if position == 0 else {})
        words += ["-device", json.dumps(device)]
    for position, image in enumerate(hardware.images):
        node = {"driver": "raw", "node-name": f"image{position}", "read-only": True, "file": _file(image.file)}
        words += ["-blockdev", json.dumps(node)]
        words += [
            "-device",
            json.dumps({"driver": "virtio-blk-pci", "drive": f"image{position}", "serial": image.serial}),
        ]
    for end in netdevs:
        words += ["-netdev", json.dumps(end)]
    for card in hardware.cards:
        words += ["-device", json.dumps(card_device(card))]
    if hardware.console is not None:
        path = str(hardware.console).replace(",", ",,")
        words += ["-chardev", f"file,id=console,append=on,path={path}", "-serial", "chardev:console"]
    return words


def _file(path: Path) -> dict[str, Any]:
    # What is flushed need not survive this computer, only its machines (decision 0025).
    return {"driver": "file", "filename": str(path), "cache": {"no-flush": True}}
