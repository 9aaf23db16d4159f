"""The few calls of qemu-img: making overlays and tracking files, copying, and reading maps."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.emulators.esxi.backend import BackendError, Extent
from lab.emulators.esxi.disk_files import Layer, merged
from lab.emulators.esxi.qemu.arguments import block_node

TOOL_SECONDS = 3600.0


def make_tracking(layer: Layer) -> None:
    """Make the file with the bitmaps of a base disk, if it is missing."""
    if layer.tracking is None or layer.tracking.exists():
        return
    with tempfile.TemporaryDirectory(dir=layer.descriptor.parent, prefix=".ctk-") as folder:
        # qemu-img makes a data file anew: beside this one, not over the disk's content.
        made = Path(folder) / layer.tracking.name
        options = f"data_file={layer.data.name},data_file_raw=on"
        _run("create", "-q", "-f", "qcow2", "-o", options, made.name, str(layer.size_bytes), folder=folder)
        made.replace(layer.tracking)


def make_overlay(layer: Layer) -> None:
    """Make the empty data of an overlay; its parent is named by its descriptor, not in here."""
    _run("create", "-q", "-f", "qcow2", str(layer.data), str(layer.size_bytes))


def grow(layer: Layer, size_bytes: int) -> None:
    """Make a disk with a tracking file larger; its bitmaps grow along and hold nothing of what is new."""
    _run("resize", "-q", "json:" + json.dumps(_anonymous(layer, None)), str(size_bytes))


def copy(layers: Sequence[Layer], target: Path) -> None:
    """Write what a disk shows into a flat file of the same size. The layers are not written meanwhile."""
    node: dict[str, Any] | None = None
    for layer in layers:
        node = _anonymous(layer, node)
    source = "json:" + json.dumps(node)
    _run("convert", "-U", "-n", "--target-is-zero", "-O", "raw", source, str(target))


def own_extents(layer: Layer) -> list[Extent]:
    """Return what an overlay holds itself."""
    output = _run("map", "-U", "--output=json", "json:" + json.dumps(_anonymous(layer, None)))
    return merged([Extent(item["start"], item["length"]) for item in json.loads(output) if item["present"]])


def dirty_extents(socket: Path, export: str, bitmap: str) -> list[Extent]:
    """Return the dirty ranges of a bitmap that an NBD export tells of."""
    options = f"driver=nbd,server.type=unix,server.path={socket},export={export}"
    context = f"x-dirty-bitmap=qemu:dirty-bitmap:{bitmap}"
    output = _run("map", "--output=json", "--image-opts", f"{options},{context}")
    # In such a context "no data" means dirty (facts 3.4).
    return merged([Extent(item["start"], item["length"]) for item in json.loads(output) if not item["data"]])


def _anonymous(layer: Layer, backing: dict[str, Any] | None) -> dict[str, Any]:
    node = {key: value for key, value in block_node(layer, None).items() if key not in {"node-name", "discard"}}
    if layer.parent is not None:
        node["backing"] = backing
    return node


def _run(*arguments: str, folder: str | None = None) -> str:
    command = ["qemu-img", *arguments]
    try:
        result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TOOL_SECONDS, cwd=folder)
    except subprocess.CalledProcessError as error:
        raise BackendError(f"qemu-img {arguments[0]}: {error.stderr.strip()}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"qemu-img {arguments[0]}: {error}") from error
    return result.stdout
