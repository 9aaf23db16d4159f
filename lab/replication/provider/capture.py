"""Capturing a machine from outside of it: a cut is a checkpoint of its hypervisor, what changed is read from there.

The base is the last checkpoint whose changes are safe. It moves only after a cut was released, so a cut that was
never released belongs to the next one, whatever ended in between (``mobility/capture.py`` has the contract).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from lab.replication.changeset import Buffer
from lab.replication.common.durable import read_json, write_json
from lab.replication.mobility.capture import CapturedDisk, ChangeLogGap, Cut
from lab.replication.mobility.rendezvous import ALONE, Rendezvous
from lab.replication.provider.nbd_client import Area
from lab.replication.provider.tracking import Frozen, TrackedMachine, TrackingLost

PREFIX = "recovery-"
PIECE = 1 << 20
TRACKING_LOST = "tracking-lost"
"""The cause of a resynchronisation when a bitmap is gone or stale (domain 2.4)."""


class NotOneMoment(Exception):
    """The machine was started while its disks were read; the next cut takes the changes along."""


class CheckpointCapture:
    """The capture of one machine; ``state`` is a small durable file. All its checkpoints begin with ``PREFIX``."""

    def __init__(self, machine: TrackedMachine, state: Path) -> None:
        self._machine = machine
        self._state = state
        self._frozen: Frozen | None = None
        self._unchanged_since: str | None = None

    def disks(self) -> Sequence[CapturedDisk]:
        """Return the disks, by index."""
        return self._machine.disks()

    def present_sizes(self) -> Mapping[int, int]:
        """Return the sizes of the disks, in bytes by index."""
        return {disk.index: disk.size for disk in self._machine.disks()}

    def generation(self) -> str:
        """Return the name of the unbroken record, "" when there is none."""
        known = read_json(self._state) or {}
        return str(known.get("generation", "")) if known.get("base") in self._machine.checkpoints() else ""

    def restart(self) -> Cut:
        """Begin a new record; its first moment stays frozen, to be copied, until the next ``release``.

        Raises:
            MachineOff: a moment can only be made of a machine that runs.
        """
        self._let_go()
        begin = time.time_ns()
        # The old record ends first: after a crash in between there is none, and not the wrong one.
        self._state.unlink(missing_ok=True)
        for old in self._own():
            self._machine.forget(old)
        self._frozen = self._machine.freeze(None, f"{PREFIX}{begin}")
        name = self._frozen.checkpoint
        write_json(self._state, {"generation": uuid.uuid4().hex, "base": name})
        return Cut(begin, time.time_ns(), str(name))

    def cut(self, rendezvous: Rendezvous = ALONE, *, freeze: bool = False) -> Cut:
        """Freeze all disks in one moment.

        Raises:
            ChangeLogGap: what changed since the base is not known.
            NotQuiet: ``freeze`` is wanted and nobody inside does it; nothing has happened.
        """
        self._let_go()
        base = (read_json(self._state) or {}).get("base")
        if base is None:
            raise ChangeLogGap("all disks", "there is no record of changes", TRACKING_LOST)
        with self._machine.quiet() if freeze else nullcontext():
            rendezvous.ready()
            begin = time.time_ns()
            try:
                self._frozen = self._machine.freeze(str(base), f"{PREFIX}{begin}")
            except TrackingLost as error:
                raise ChangeLogGap("all disks", str(error), TRACKING_LOST) from error
            end = time.time_ns()
            rendezvous.held()
        return Cut(begin, end, self._frozen.checkpoint or "")

    def drain(self, cut: Cut, disk: CapturedDisk) -> Iterator[tuple[int, Buffer]]:
        """Yield what changed since the base, in pieces of at most a MiB.

        Raises:
            ChangeLogGap: it is not known.
            NotOneMoment: the machine was started meanwhile.
        """
        frozen = self._of(cut)
        if frozen.checkpoint is None and frozen.stamp == self._unchanged_since:
            return
        try:
            yield from frozen.read_each(disk.index, _places(frozen.changed(disk.index)))
        except TrackingLost as error:
            raise ChangeLogGap(disk.name, str(error), TRACKING_LOST) from error
        if not frozen.still_valid():
            raise NotOneMoment(f"{disk.name}: the machine was started while it was read")

    def is_instant(self, cut: Cut) -> bool:
        """Return True: the disks are frozen while they are read."""
        del cut
        return True

    def release(self, cut: Cut) -> None:
        """The changes of ``cut`` are safe elsewhere: it is the base from now on."""
        frozen = self._of(cut)
        if frozen.checkpoint is None:
            self._unchanged_since = frozen.stamp
        else:
            known = read_json(self._state) or {}
            write_json(self._state, {**known, "base": frozen.checkpoint})
            self._unchanged_since = None
        self._let_go()
        if frozen.checkpoint is not None:
            for old in self._own():
                if old != frozen.checkpoint:
                    self._machine.forget(old)

    def open_disk(self, disk: CapturedDisk) -> FrozenReader:
        """Open a disk of the moment that ``restart`` has frozen, for reading all of it."""
        if self._frozen is None:
            raise OSError(f"{disk.name}: nothing is frozen")
        return FrozenReader(self._frozen, disk)

    def end(self) -> None:
        """Forget everything about the machine: it is not replicated any more."""
        self._let_go()
        self._state.unlink(missing_ok=True)
        for name in self._own():
            self._machine.forget(name)

    def close(self) -> None:
        """Let go of a frozen moment; the record stays."""
        self._let_go()

    def _own(self) -> list[str]:
        return [name for name in self._machine.checkpoints() if name.startswith(PREFIX)]

    def _of(self, cut: Cut) -> Frozen:
        if self._frozen is None or (self._frozen.checkpoint or "") != cut.token:
            raise ChangeLogGap("all disks", "the moment of the cut is gone", TRACKING_LOST)
        return self._frozen

    def _let_go(self) -> None:
        frozen, self._frozen = self._frozen, None
        if frozen is not None:
            frozen.close()
        # Of an earlier run, or of this one when closing has failed.
        self._machine.release()


class FrozenReader:
    """A disk of a frozen moment, read in bulk."""

    def __init__(self, frozen: Frozen, disk: CapturedDisk) -> None:
        self._frozen = frozen
        self._disk = disk

    def offsets(self, length: int) -> Iterable[int]:
        """Return where pieces begin in which there is something."""
        return _pieces(self._frozen.data(self._disk.index), length)

    def read_each(
        self, offsets: Iterable[int], length: int, room: Callable[[], memoryview]
    ) -> Iterator[tuple[int, memoryview]]:
        """Yield pieces; while one is looked at the next ones are read."""
        places = ((offset, min(length, self._disk.size - offset)) for offset in offsets)
        for offset, content in self._frozen.read_each(self._disk.index, places):
            piece = room()[: len(content)]
            piece[:] = content
            yield offset, piece

    def close(self) -> None:
        """Nothing to do: the moment is released by the capture."""


def _places(areas: Iterable[Area]) -> Iterator[tuple[int, int]]:
    """Yield the place and size of pieces of at most ``PIECE`` bytes."""
    for area in areas:
        for offset in range(area.start, area.end, PIECE):
            yield offset, min(PIECE, area.end - offset)


def _pieces(areas: Iterable[Area], length: int) -> Iterator[int]:
    """Yield the places of a grid of ``length`` bytes that some area touches, in order."""
    following = 0
    for area in areas:
        first = max(following, area.start // length * length)
        yield from range(first, area.end, length)
        following = max(following, -(-area.end // length) * length)
