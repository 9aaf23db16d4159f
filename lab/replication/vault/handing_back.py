"""Giving the disks of a machine in Azure back to a host (seed L111): written to files, read by one provider."""

from __future__ import annotations

import os
import re
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

from lab.hypervisors.protocols import Conflict, NotFound
from lab.replication.common.durable import JSON
from lab.replication.digests import DIGEST_SIZE, ChunkDigests
from lab.replication.vault.compute import Compute, checked_name

DISK = re.compile(r"[a-z0-9][a-z0-9-]{0,60}\Z")
MOST_READ = 4 << 20
MOST_CHUNK = 4 << 20


@dataclass(frozen=True)
class HandingBack:
    """Disks that were written to ``directory``; who may read them is forgotten when the vault ends."""

    directory: Path
    compute: Compute
    _readers: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def export(self, machine: str, reader: str) -> JSON:
        """Write all disks of a machine for one provider, in the place of what was written before.

        Raises:
            NotFound, Conflict, HypervisorError: there is no such machine, or its disks cannot be read.
        """
        with self._lock:
            folder = self._folder(machine)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, mode=0o700)
            self.compute.export(machine, folder)
            self._readers[machine] = reader
            sizes = {path.stem: path.stat().st_size for path in sorted(folder.glob("*.raw"))}
        return {"disks": [{"name": name, "size": size} for name, size in sizes.items()]}

    def read(self, reader: str, machine: str, disk: str, offset: int, length: int) -> bytes:
        """Return bytes of a disk. Raises NotFound, also for who may not read it; ValueError."""
        if not 0 < length <= MOST_READ or offset < 0:
            raise ValueError(f"length: 1 to {MOST_READ} bytes at a time")
        with self._file(reader, machine, disk).open("rb") as file:
            return os.pread(file.fileno(), length, offset)

    def compare(self, reader: str, machine: str, disk: str, digests: bytes, *, chunk: int, first: int) -> list[int]:
        """Return which chunks, from number ``first`` on, do not have these digests. Raises NotFound, ValueError."""
        if not 0 < chunk <= MOST_CHUNK or first < 0:
            raise ValueError("chunk or first is out of range")
        ours = ChunkDigests(chunk)
        with self._file(reader, machine, disk).open("rb") as file:
            return [
                first + place
                for place in range(len(digests) // DIGEST_SIZE)
                if ours.of(os.pread(file.fileno(), chunk, (first + place) * chunk))
                != digests[place * DIGEST_SIZE : (place + 1) * DIGEST_SIZE]
            ]

    def end(self, machine: str) -> None:
        """Delete what was written of a machine."""
        with self._lock:
            self._readers.pop(machine, None)
            shutil.rmtree(self._folder(machine), ignore_errors=True)

    def _file(self, reader: str, machine: str, disk: str) -> Path:
        path = self._folder(machine) / f"{disk}.raw"
        if self._readers.get(machine) != reader or not DISK.match(disk) or not path.is_file():
            raise NotFound(f"nothing of {machine} is there for {reader}")
        return path

    def _folder(self, machine: str) -> Path:
        try:
            return self.directory / checked_name(machine)
        except Conflict as error:
            raise NotFound(str(error)) from error
