"""The real capture: dm-log-writes below every protected disk, two log areas for each, swapped at every cut.

The boot script (``boot/mobility.sh``) makes the mappings before the root file system is mounted. A cut loads a table
with the other log area, suspends every disk (the instant), and resumes them; the old log is then complete.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.replication.changeset import Buffer
from lab.replication.common.config import ServiceConfig
from lab.replication.common.durable import read_json, write_json
from lab.replication.mobility.capture import CapturedDisk, ChangeLogGap, Cut, DeviceReader
from lab.replication.mobility.device_mapper import DeviceMapper, Target
from lab.replication.mobility.flusher import Flusher, MappedDevice, bearable
from lab.replication.mobility.guardian import Guardian
from lab.replication.mobility.log_contents import Changes, copy_log
from lab.replication.mobility.mapped import MAPPER, MappedDisk, device_of, mapped_disk, number_of, sectors_of
from lab.replication.mobility.orderly_end import OrderlyEnd, Record, forget_ending, goes_on, note_ending, read_ended
from lab.replication.mobility.rendezvous import ALONE, Rendezvous
from lab.replication.mobility.write_log import SECTOR, BrokenLog

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
AREAS = ("a", "b")
_MCL_CURRENT, _MCL_FUTURE = 1, 2


class DmCapture:
    """Implements ``capture.Capture`` with the mappings that the boot script made."""

    def __init__(self, names: Sequence[str], state_dir: Path) -> None:
        forget_ending()
        self._mapper = DeviceMapper()
        self._mappings = [mapped_disk(self._mapper, index, name) for index, name in enumerate(names)]
        self._state_file = state_dir / "capture.json"
        self._spill_dir = state_dir
        self._closed: dict[str, list[str]] = {mapping.name: [] for mapping in self._mappings}
        self._changes = Changes()
        self._swapping = threading.Lock()
        self._ended = False
        self._boot = self._generation = BOOT_ID.read_text(encoding="ascii").strip()
        self._threads = ThreadPoolExecutor(len(names), thread_name_prefix="resume")
        self._guardian = Guardian([mapping.name for mapping in self._mappings])
        _lock_memory()
        self._recover()
        self._flusher = Flusher([MappedDevice(MAPPER / mapping.name) for mapping in self._mappings], bearable())

    def disks(self) -> Sequence[CapturedDisk]:
        """Return the protected disks, by index."""
        return [mapping.disk for mapping in self._mappings]

    def present_sizes(self) -> Mapping[int, int]:
        """Return the size of each disk below its mapping, in bytes by index."""
        return {mapping.disk.index: sectors_of(mapping.source) * SECTOR for mapping in self._mappings}

    def generation(self) -> str:
        """Return the id of the boot that began the record: one that ends without notice breaks it."""
        return self._generation

    def restart(self) -> Cut:
        """Drop everything captured so far and begin again, up to the present ends of the disks."""
        # A table with more sectors makes the mapping larger at its resume; until then nobody can write behind its end.
        self._mappings = [mapping.grown_to(sectors_of(mapping.source)) for mapping in self._mappings]
        cut = self._swap()
        self._forget_closed()
        return cut

    def cut(self, rendezvous: Rendezvous = ALONE, *, freeze: bool = False) -> Cut:
        """Make one instant on all disks. Raises ChangeLogGap, Abandoned, OSError."""
        self._changes = Changes()
        for mapping in self._mappings:
            self._spill(mapping)
        if freeze:
            # Most of what is dirty goes out now, while nobody waits for it.
            os.sync()
        return self._swap(rendezvous, freeze=freeze)

    def fullness(self) -> float:
        """Return how full the fullest log in use is, from 0 to 1. Raises ChangeLogGap, OSError."""
        return max(self._fullness(mapping) for mapping in self._mappings)

    def _fullness(self, mapping: MappedDisk) -> float:
        # "logged-entries highest-sector", in sectors of 512 bytes (kernel: log_writes_status in drivers/md).
        highest = int(self._mapper.status(mapping.name).split()[1])
        return highest / self._mapper.table(mapping.area(self._active(mapping)).name).sectors

    def drain(self, cut: Cut, disk: CapturedDisk) -> Iterator[tuple[int, Buffer]]:
        """Yield what changed on a disk up to the cut. Raises ChangeLogGap."""
        del cut  # one cut is drained at a time: all closed logs belong to it
        mapping = self._mappings[disk.index]
        try:
            yield from self._changes.read(self._closed[mapping.name], mapping.disk.device)
        except BrokenLog as error:
            raise ChangeLogGap(disk.name, str(error)) from error

    def is_instant(self, cut: Cut) -> bool:
        """Whether the order of all writes up to the cut was known."""
        del cut
        return self._changes.ordered

    def release(self, cut: Cut) -> None:
        """Let the logs of the cut be used again."""
        del cut
        self._forget_closed()

    def open_disk(self, disk: CapturedDisk) -> DeviceReader:
        """Open the disk itself, past the page cache."""
        return DeviceReader(os.open(disk.device, os.O_RDONLY | os.O_DIRECT), disk.size)

    def close(self, *, goes_on: bool) -> None:
        """Stop using the disks; capture goes on below, and after an orderly restart too if ``goes_on``."""
        with self._swapping:
            self._ended = True
            self._flusher.close()
            if goes_on:
                self._note_ending()
            self._guardian.close()
            self._threads.shutdown()
            self._mapper.close()

    def _note_ending(self) -> None:
        try:
            # The next boot logs to the areas that are not in use now.
            for mapping in self._mappings:
                self._spill(mapping)
            note_ending(OrderlyEnd(self._boot, self._present_record().areas), self._change_log())
        except (ChangeLogGap, OSError) as error:
            log.warning("after a restart the disks will be compared: %s", error)

    def _swap(self, rendezvous: Rendezvous = ALONE, *, freeze: bool = False) -> Cut:
        with self._swapping:
            if self._ended:
                raise OSError("the capture has ended: nobody would resume the disks")
            return self._swap_logs(rendezvous, freeze=freeze)

    def _swap_logs(self, rendezvous: Rendezvous, *, freeze: bool) -> Cut:
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

    def _active(self, mapping: MappedDisk) -> str:
        log = self._mapper.table(mapping.name).parameters.split()[1]
        for letter in AREAS:
            if number_of(mapping.area(letter)) == log:
                return letter
        raise ChangeLogGap(mapping.disk.name, "the disk is not captured: the machine has no change-log disk")

    def _spill(self, mapping: MappedDisk) -> None:
        """Copy a closed log that was not released to a file, so that its area is free for the next one."""
        closed = self._closed[mapping.name]
        for position, path in enumerate(closed):
            if not path.startswith(str(MAPPER)):
                continue
            target = self._spill_dir / f"{mapping.name}-{time.time_ns()}.log"
            try:
                copy_log(Path(path), target)
            except BrokenLog as error:
                raise ChangeLogGap(mapping.disk.name, str(error)) from error
            closed[position] = str(target)
        self._save()

    def _forget_closed(self) -> None:
        for paths in self._closed.values():
            for path in paths:
                if not path.startswith(str(MAPPER)):
                    Path(path).unlink(missing_ok=True)
            paths.clear()
        self._save()

    def _change_log(self) -> Path:
        """Return the disk that all log areas are on."""
        parameters = self._mapper.table(self._mappings[0].area(AREAS[0]).name).parameters
        return device_of(parameters.split()[0])

    def _save(self) -> None:
        write_json(
            self._state_file, {"generation": self._generation, "closed": self._closed, **vars(self._present_record())}
        )

    def _present_record(self) -> Record:
        return Record(
            self._boot,
            {mapping.name: self._active(mapping) for mapping in self._mappings},
            {mapping.name: mapping.sectors for mapping in self._mappings},
        )

    def _recover(self) -> None:
        """Take up after a restart of the service, or of the machine; what was swapped since shows in the live table."""
        state = read_json(self._state_file)
        if state is not None:
            before = Record.from_json(state)
            if goes_on(before, self._present_record(), read_ended()):
                self._generation = state["generation"]
                self._take_up(before, state["closed"])
        self._save()

    def _take_up(self, before: Record, closed: Mapping[str, Sequence[str]]) -> None:
        for mapping in self._mappings:
            self._closed[mapping.name] = list(closed.get(mapping.name, []))
            recorded = before.areas.get(mapping.name)
            if recorded is not None and recorded != self._active(mapping):
                self._closed[mapping.name].append(str(mapping.area(recorded)))


def open_capture(config: ServiceConfig) -> DmCapture:
    """Return the capture of this machine. Raises ChangeLogGap."""
    spool = Path(config.settings["spool_dir"])
    disks = sorted(config.settings["disks"], key=lambda disk: int(disk["index"]))
    return DmCapture([str(disk["name"]) for disk in disks], spool)


def _lock_memory() -> None:
    """Keep every page in memory: a page that had to be read from a suspended disk would never come."""
    if ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT | _MCL_FUTURE) != 0:
        raise OSError(ctypes.get_errno(), "the capture may not lock its memory")
