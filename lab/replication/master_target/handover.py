"""Recovery points and undo log of a stream as an archive on a disk, by which they get to another master target.

A disk that the fabric moves is enough: no port has to be opened between master targets, and nothing passes a network
unprotected. The archive's length and SHA-256 go by the configuration server, so a wrong or torn disk is noticed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lab.replication.common.control import CommandFailed
from lab.replication.common.durable import JSON, sync_directory

FOLDERS = ("points", "undo")
NAME = re.compile(r"(points/\d{12}\.json|undo/\d{12}\.undo)\Z")
BLOCK = 512
HEADERS_BYTES = 3 * BLOCK
END_BYTES = 20 * BLOCK
PIECE = 1 << 20


def needed_bytes(directory: Path) -> int:
    """Return how large a disk for the archive of a stream has to be: a little more than its files."""
    sizes = [path.stat().st_size for path in _files(directory)]
    return END_BYTES + sum(HEADERS_BYTES + -(-size // BLOCK) * BLOCK for size in sizes)


def write_archive(directory: Path, device: Path) -> JSON:
    """Write the archive to a device, durably; return ``{length, sha256}``.

    Raises:
        CommandFailed: it does not fit.
    """
    with device.open("r+b", buffering=0) as raw:
        room = raw.seek(0, os.SEEK_END)
        raw.seek(0)
        if room < needed_bytes(directory):
            raise CommandFailed("disk-too-small", f"{device} has {room} bytes, {needed_bytes(directory)} are needed")
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path in _files(directory):
                archive.add(path, str(path.relative_to(directory)), recursive=False)
        length = raw.tell()
        os.fsync(raw.fileno())
        raw.seek(0)
        return {"length": length, "sha256": _digest(raw, length)}


def read_archive(device: Path, directory: Path, length: int, sha256: str) -> None:
    """Make ``directory`` from an archive, durably; what it held before is gone.

    Raises:
        CommandFailed: it is not the archive that was written, or has something in it that does not belong there.
    """
    arriving = directory.with_name(f".{directory.name}.arriving")
    shutil.rmtree(arriving, ignore_errors=True)
    for folder in FOLDERS:
        (arriving / folder).mkdir(parents=True)
    with device.open("rb", buffering=0) as raw:
        if _digest(raw, length) != sha256:
            raise CommandFailed("archive-damaged", f"{device} does not hold what was handed over")
        raw.seek(0)
        with tarfile.open(fileobj=raw, mode="r:") as archive:
            for entry in archive:
                _extract(archive, entry, arriving)
    for folder in FOLDERS:
        sync_directory(arriving / folder)
    shutil.rmtree(directory, ignore_errors=True)
    arriving.rename(directory)
    sync_directory(directory.parent)


def _files(directory: Path) -> Iterator[Path]:
    for folder in FOLDERS:
        found = sorted((directory / folder).iterdir()) if (directory / folder).exists() else []
        yield from (path for path in found if NAME.match(str(path.relative_to(directory))))


def _extract(archive: tarfile.TarFile, entry: tarfile.TarInfo, directory: Path) -> None:
    source = archive.extractfile(entry) if entry.isreg() and NAME.match(entry.name) else None
    if source is None:
        raise CommandFailed("archive-damaged", f"unexpected entry {entry.name!r}")
    with source, (directory / entry.name).open("wb") as sink:
        shutil.copyfileobj(source, sink, PIECE)
        sink.flush()
        os.fsync(sink.fileno())


def _digest(raw: IO[bytes], length: int) -> str:
    digest = hashlib.sha256()
    while length > 0 and (piece := raw.read(min(PIECE, length))):
        digest.update(piece)
        length -= len(piece)
    return digest.hexdigest()
