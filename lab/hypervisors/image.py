"""What an image file is, told by its first bytes."""

from __future__ import annotations

import os
import struct
from pathlib import Path

_QCOW2_MAGIC = b"QFI\xfb"
_QCOW2_HEADER = struct.Struct(">24xQ")


def inspect_image(image: Path) -> tuple[str, int]:
    """Return the format ("raw" or "qcow2") of an image file and the bytes that a machine sees of it."""
    with image.open("rb") as file:
        header = file.read(_QCOW2_HEADER.size)
        if header.startswith(_QCOW2_MAGIC) and len(header) == _QCOW2_HEADER.size:
            return "qcow2", int(_QCOW2_HEADER.unpack(header)[0])
        return "raw", file.seek(0, os.SEEK_END)
