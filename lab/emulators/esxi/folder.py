"""``/folder``: the files of the datastore over HTTP, with ranges, authenticated and confined."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

from pyVmomi import vim

from lab.emulators.esxi.emulator import Emulator
from lab.emulators.esxi.service import Licence

BLOCK = 1 << 20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")
Read = Callable[[int], bytes]


class Refused(Exception):
    """The request is answered with an HTTP status and a reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Part:
    """Bytes ``start`` to ``start + length`` of a file of ``size`` bytes."""

    file: Path
    size: int
    start: int
    length: int
    partial: bool


def part_of(emulator: Emulator, url: str, ranges: str | None) -> Part:
    """Return what a GET or HEAD asks for. Raises Refused."""
    file = _file(emulator, url)
    if not file.is_file():
        raise Refused(404, "no such file")
    size = file.stat().st_size
    if ranges is None:
        return Part(file, size, 0, size, partial=False)
    found = _RANGE.match(ranges)
    if found is None or (not found[1] and not found[2]):
        raise Refused(416, "one range of bytes is expected")
    if found[1]:
        start, end = int(found[1]), min(int(found[2]) if found[2] else size - 1, size - 1)
    else:
        start, end = max(0, size - int(found[2])), size - 1
    if start > end:
        raise Refused(416, f"the file has {size} bytes")
    return Part(file, size, start, end - start + 1, partial=True)


def store(emulator: Emulator, url: str, length: int, read: Read) -> None:
    """Replace a file by ``length`` bytes; blocks of zeros become holes. Raises Refused."""
    file = _file(emulator, url)
    if emulator.settings.licence is Licence.FREE:
        raise Refused(403, "Current license or ESXi version prohibits execution of the requested operation.")
    if not file.parent.is_dir() or file.is_dir():
        raise Refused(404, "no such folder")
    if emulator.site.in_use(file):
        raise Refused(403, "the file is locked")
    temporary = file.with_name(f".{file.name}.part")
    try:
        with temporary.open("wb") as target:
            _write(target, length, read)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _write(target: BinaryIO, length: int, read: Read) -> None:
    left = length
    while left > 0:
        block = read(min(BLOCK, left))
        if not block:
            raise Refused(400, f"{left} bytes are missing")
        if block.count(0) == len(block):
            target.seek(len(block), 1)
        else:
            target.write(block)
        left -= len(block)
    target.truncate(length)


def _file(emulator: Emulator, url: str) -> Path:
    split = urlsplit(url)
    names = parse_qs(split.query).get("dsName", [])
    folder = emulator.site.folder
    if names != [folder.name]:
        raise Refused(404, "no such datastore")
    try:
        return folder.confined(unquote(split.path).removeprefix("/folder"))
    except vim.fault.InvalidDatastorePath as fault:
        raise Refused(400, fault.msg) from fault
