"""The "newc" archive format of initramfs images (kernel: Documentation/driver-api/early-userspace/buffer-format)."""

from __future__ import annotations

import stat
from collections.abc import Mapping

_TRAILER = "TRAILER!!!"
_MAGIC = b"070701"
_HEADER_BYTES = 110
_BLOCK = 512


def archive(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """Return an archive of path to (content, mode), with the folders that the paths need; padded to 512 bytes."""
    folders = sorted({parent for path in files for parent in _parents(path)})
    entries = [_entry(number, name, b"", stat.S_IFDIR | 0o755) for number, name in enumerate(folders, 1)]
    entries += [
        _entry(number, name, content, stat.S_IFREG | mode)
        for number, (name, (content, mode)) in enumerate(sorted(files.items()), len(folders) + 1)
    ]
    entries.append(_entry(0, _TRAILER, b"", 0))
    return _padded(b"".join(entries), _BLOCK)


def leading_archive(image: bytes) -> tuple[list[str], int]:
    """Return the names in the uncompressed archive that an image starts with, and where the rest begins.

    An image that starts with anything else gives no names and 0.
    """
    try:
        return _read_names(image)
    except ValueError:
        return [], 0


def _read_names(image: bytes) -> tuple[list[str], int]:
    names: list[str] = []
    position = 0
    while image[position : position + 6] == _MAGIC:
        header = image[position + 6 : position + _HEADER_BYTES]
        size, name_size = int(header[48:56], 16), int(header[88:96], 16)
        name = image[position + _HEADER_BYTES : position + _HEADER_BYTES + name_size - 1].decode(
            errors="surrogateescape"
        )
        position = _aligned(_aligned(position + _HEADER_BYTES + name_size, 4) + size, 4)
        if name == _TRAILER:
            return names, _aligned(position, _BLOCK)
        names.append(name)
    return [], 0


def _number(digits: bytes) -> int:
    """Return the number in a header field; ``int`` would also take signs, and then reading might never end."""
    return int.from_bytes(bytes.fromhex(digits.decode("ascii")), "big")


def _aligned(position: int, size: int) -> int:
    return position + -position % size


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def _entry(inode: int, name: str, content: bytes, mode: int) -> bytes:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = _MAGIC + b"".join(b"%08X" % field for field in fields)
    return _padded(header + encoded, 4) + _padded(content, 4)


def _padded(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)
