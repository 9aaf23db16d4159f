"""The real capture: dm-log-writes below every protected disk, two log areas for each, swapped at every cut.

The boot script (``boot/mobility.sh``) makes the mappings before the root file system is mounted. A cut loads a table
with the other log area, suspends every disk (the instant), and resumes them; the old log is then complete.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from lab.replication.changeset import Buffer
from lab.replication.common.config import ServiceConfig
from lab.replication.common.durable import read_json, write_json
from lab.replication.mobility.capture import CapturedDisk, ChangeLogGap, Cut, DeviceReader
from lab.replication.mobility.device_mapper import DeviceMapper, Target
from lab.replication.mobility.guardian import Guardian
from lab.replication.mobility.rendezvous import ALONE, Rendezvous
from lab.replication.mobility.write_log import (
    DISCARD,
    SECTOR,
    BrokenLog,
    Survivor,
    read_entries,
    read_part,
    survivors,
)

MAPPER = Path("/dev/mapper")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
AREAS = ("a", "b")
_MCL_CURRENT, _MCL_FUTURE = 1, 2
_BLKFLSBUF = 0x1261
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class _Mapping:
    """A protected disk below its mapping."""

    disk: CapturedDisk
    name: str
    source: str
    sectors: int

    def area(self, letter: str) -> Path:
        return MAPPER / f"{self.name}-log-{letter}"

    def grown_to(self, sectors: int) -> _Mapping:
        """Return the mapping with so many sectors; a disk does not become smaller under a system that runs."""
        if sectors <= self.sectors:
            return self
        return replace(self, sectors=sectors, disk=replace(self.disk, size=sectors * SECTOR))


class DmCapture:
    """Implements ``capture.Capture`` with the mappings that the boot script made."""

    def __init__(self, names: Sequence[str], state_dir: Path) -> None:
        self._mapper = DeviceMapper()
        self._mappings = [_mapping(self._mapper, index, name) for index, name in enumerate(names)]
        self._state_file = state_dir / "capture.json"
        self._spill_dir = state_dir
        self._closed: dict[str, list[str]] = {mapping.name: [] for mapping in self._mappings}
        self._guessed = False
        self._generation = BOOT_ID.read_text(encoding="ascii").strip()
        self._threads = ThreadPoolExecutor(len(names), thread_name_prefix="resume")
        self._guardian = Guardian([mapping.name for mapping in self._mappings])
        _lock_memory()
        self._recover()

    def disks(self) -> Sequence[CapturedDisk]:
        """Return the protected disks, by index."""
        return [mapping.disk for mapping in self._mappings]

    def present_sizes(self) -> Mapping[int, int]:
        """Return the size of each disk below its mapping, in bytes by index."""
        return {mapping.disk.index: _sectors(mapping.source) * SECTOR for mapping in self._mappings}

    def generation(self) -> str:
        """Return the boot id: every boot begins new logs, so what the old ones still held is not known to be whole."""
        return self._generation

    def restart(self) -> Cut:
        """Drop everything captured so far and begin again, up to the present ends of the disks."""
        # A table with more sectors makes the mapping larger at its resume; until then nobody can write behind its end.
        self._mappings = [mapping.grown_to(_sectors(mapping.source)) for mapping in self._mappings]
        cut = self._swap()
        self._forget_closed()
        return cut

    def cut(self, rendezvous: Rendezvous = ALONE, *, freeze: bool = False) -> Cut:
        """Make one instant on all disks. Raises ChangeLogGap, Abandoned, OSError."""
        self._guessed = False
        for mapping in self._mappings:
            self._spill(mapping)
        if freeze:
            # Most of what is dirty goes out now, while nobody waits for it.
            os.sync()
        return self._swap(rendezvous, freeze=freeze)

    def fullness(self) -> float:
        """Return how full the fullest log in use is, from 0 to 1. Raises ChangeLogGap, OSError."""
        return max(self._fullness(mapping) for mapping in self._mappings)

    def _fullness(self, mapping: _Mapping) -> float:
        # "logged-entries highest-sector", in sectors of 512 bytes (kernel: log_writes_status in drivers/md).
        highest = int(self._mapper.status(mapping.name).split()[1])
        return highest / self._mapper.table(mapping.area(self._active(mapping)).name).sectors

    def drain(self, cut: Cut, disk: CapturedDisk) -> Iterator[tuple[int, Buffer]]:
        """Yield what changed on a disk up to the cut. Raises ChangeLogGap."""
        del cut  # one cut is drained at a time: all closed logs belong to it
        mapping = self._mappings[disk.index]
        with ExitStack() as stack:
            try:
                entries = []
                for path in self._closed[mapping.name]:
                    descriptor = os.open(path, os.O_RDONLY)
                    stack.callback(os.close, descriptor)
                    _drop_cached_pages(descriptor)
                    entries += read_entries(descriptor)
                device = os.open(mapping.disk.device, os.O_RDONLY)
                stack.callback(os.close, device)
                yield from joined(self._contents(survivors(entries), device))
            except BrokenLog as error:
                raise ChangeLogGap(disk.name, str(error)) from error

    def _contents(self, parts: list[Survivor], device: int) -> Iterator[tuple[int, bytes]]:
        for part in parts:
            content, known = _content(part, device)
            self._guessed = self._guessed or not known
            yield part.offset, content

    def is_instant(self, cut: Cut) -> bool:
        """Whether the order of all writes up to the cut was known."""
        del cut
        return not self._guessed

    def release(self, cut: Cut) -> None:
        """Let the logs of the cut be used again."""
        del cut
        self._forget_closed()

    def open_disk(self, disk: CapturedDisk) -> DeviceReader:
        """Open the disk itself, past the page cache."""
        return DeviceReader(os.open(disk.device, os.O_RDONLY | os.O_DIRECT), disk.size)

    def close(self) -> None:
        """Stop using the disks; capture goes on below."""
        self._guardian.close()
        self._threads.shutdown()
        self._mapper.close()

    def _swap(self, rendezvous: Rendezvous = ALONE, *, freeze: bool = False) -> Cut:
        before = {mapping.name: self._active(mapping) for mapping in self._mappings}
        for mapping in self._mappings:
            other = AREAS[1 - AREAS.index(before[mapping.name])]
            parameters = f"{mapping.source} {mapping.area(other)}"
            self._mapper.load(mapping.name, Target(mapping.sectors, "log-writes", parameters))
        rendezvous.ready()
        begin_ns = time.time_ns()
        with self._guardian.watching():
            try:
                for mapping in self._mappings:
                    self._mapper.suspend(mapping.name, freeze=freeze)
                end_ns = time.time_ns()
                rendezvous.held()
            finally:
                # Side by side: a resume returns only when the old log is written out.
                resumes = [self._threads.submit(self._mapper.resume, mapping.name) for mapping in self._mappings]
                for resume in resumes:
                    resume.result()
        for mapping in self._mappings:
            self._closed[mapping.name].append(str(mapping.area(before[mapping.name])))
        self._save()
        return Cut(begin_ns, end_ns, str(begin_ns))

    def _active(self, mapping: _Mapping) -> str:
        log = self._mapper.table(mapping.name).parameters.split()[1]
        for letter in AREAS:
            if _device_number(mapping.area(letter)) == log:
                return letter
        raise ChangeLogGap(mapping.disk.name, "the disk is not captured: the machine has no change-log disk")

    def _spill(self, mapping: _Mapping) -> None:
        """Copy a closed log that was not released to a file, so that its area is free for the next one."""
        closed = self._closed[mapping.name]
        for position, path in enumerate(closed):
            if not path.startswith(str(MAPPER)):
                continue
            target = self._spill_dir / f"{mapping.name}-{time.time_ns()}.log"
            _copy_log(Path(path), target)
            closed[position] = str(target)
        self._save()

    def _forget_closed(self) -> None:
        for paths in self._closed.values():
            for path in paths:
                if not path.startswith(str(MAPPER)):
                    Path(path).unlink(missing_ok=True)
            paths.clear()
        self._save()

    def _save(self) -> None:
        active = {mapping.name: self._active(mapping) for mapping in self._mappings}
        write_json(self._state_file, {"generation": self._generation, "active": active, "closed": self._closed})

    def _recover(self) -> None:
        """Take up after a restart of the service; a swap whose record was lost shows in the live table."""
        state = read_json(self._state_file)
        if state is None or state["generation"] != self._generation:
            self._save()
            return
        closed: Mapping[str, list[str]] = state["closed"]
        for mapping in self._mappings:
            self._closed[mapping.name] = list(closed.get(mapping.name, []))
            recorded = state["active"].get(mapping.name)
            if recorded is not None and recorded != self._active(mapping):
                self._closed[mapping.name].append(str(mapping.area(recorded)))
        self._save()


def open_capture(config: ServiceConfig) -> DmCapture:
    """Return the capture of this machine. Raises ChangeLogGap."""
    spool = Path(config.settings["spool_dir"])
    disks = sorted(config.settings["disks"], key=lambda disk: int(disk["index"]))
    return DmCapture([str(disk["name"]) for disk in disks], spool)


def _mapping(mapper: DeviceMapper, index: int, disk_name: str) -> _Mapping:
    name = f"mobility-{disk_name}"
    target = mapper.table(name)
    if target.kind != "log-writes":
        raise ChangeLogGap(disk_name, "the disk is not captured: the machine has no change-log disk")
    source = target.parameters.split()[0]
    major_minor = Path(f"/sys/dev/block/{source}").resolve().name
    device = Path("/dev") / major_minor
    return _Mapping(CapturedDisk(index, disk_name, device, target.sectors * SECTOR), name, source, target.sectors)


def _sectors(source: str) -> int:
    """Return the present size of a block device, given as major:minor, in sectors of 512 bytes."""
    return int(Path(f"/sys/dev/block/{source}/size").read_text(encoding="ascii"))


def _content(part: Survivor, device: int) -> tuple[bytes, bool]:
    """Return the bytes of a part, and whether they are known to be right; where the log cannot tell, the disk does.

    A discarded range has no content of its own until it is written again, so what the disk holds now is right. If the
    disk holds neither of two writes whose order is open, a later one has followed: it is in the next log.
    """
    if part.entry.flags & DISCARD:
        return os.pread(device, part.length, part.offset), True
    data = read_part(part)
    if not part.rivals:
        return data, True
    _drop_cached_pages(device)
    present = os.pread(device, part.length, part.offset)
    if present == data:
        return data, True
    merged = bytearray(data)
    for rival in part.rivals:
        start = max(part.offset, rival.offset)
        end = min(part.offset + part.length, rival.offset + rival.length)
        merged[start - part.offset : end - part.offset] = read_part(Survivor(rival, start, end - start))
    return (bytes(merged), True) if present == merged else (data, False)


def joined(parts: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Join neighbours up to a MiB: every piece costs time on its way that has nothing to do with its size."""
    start, pieces, length = 0, list[bytes](), 0
    for offset, data in parts:
        if pieces and (offset != start + length or length + len(data) > _COPY_BYTES):
            yield start, b"".join(pieces)
            pieces, length = [], 0
        if not pieces:
            start = offset
        pieces.append(data)
        length += len(data)
    if pieces:
        yield start, b"".join(pieces)


def _copy_log(source: Path, target: Path) -> None:
    with source.open("rb", buffering=0) as log, target.open("wb", buffering=0) as copy:
        _drop_cached_pages(log.fileno())
        entries = read_entries(log.fileno())
        remaining = max((entry.position + entry.length for entry in entries), default=0) + _COPY_BYTES
        log.seek(0)
        while remaining > 0 and (data := log.read(min(_COPY_BYTES, remaining))):
            copy.write(data)
            remaining -= len(data)
        os.fsync(copy.fileno())


def _drop_cached_pages(descriptor: int) -> None:
    """Forget cached pages: the mapping writes to the device below them."""
    try:
        fcntl.ioctl(descriptor, _BLKFLSBUF, 0)
    except OSError:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _device_number(path: Path) -> str:
    number = path.stat().st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


def _lock_memory() -> None:
    """Keep every page in memory: a page that had to be read from a suspended disk would never come."""
    if ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT | _MCL_FUTURE) != 0:
        raise OSError(ctypes.get_errno(), "the capture may not lock its memory")
