"""A machine of a hypervisor in this process: disks in memory, bitmaps that survive what a test calls a crash.

``World.tick`` is called around everything that lasts; it raises ``Crash`` when its number has come.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lab.replication.mobility.capture import CapturedDisk
from lab.replication.provider.frozen import united
from lab.replication.provider.nbd_client import Area
from lab.replication.provider.tracking import MachineOff, NotQuiet, TrackingLost

BLOCK = 4096


class Crash(BaseException):
    """The provider ends here, whatever it was doing."""


class World:
    def __init__(self, crash_at: int | None = None) -> None:
        self.crash_at = crash_at
        self.ticks = 0

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks == self.crash_at:
            raise Crash


class MemoryMoment:
    def __init__(self, machine: MemoryMachine, checkpoint: str | None, dirty: dict[int, set[int]] | None) -> None:
        self._machine = machine
        self._content = {index: bytes(disk) for index, disk in machine.content.items()}
        self._dirty = dirty
        self.checkpoint = checkpoint
        self.stamp = str(machine.writes)
        self.open = True

    def changed(self, disk: int) -> Iterator[Area]:
        if self._dirty is None:
            raise TrackingLost("not asked for")
        return united([Area(b * BLOCK, (b + 1) * BLOCK) for b in self._dirty[disk]])

    def data(self, disk: int) -> Iterator[Area]:
        content = self._content[disk]
        blocks = range(0, len(content), BLOCK)
        return united([Area(b, b + BLOCK) for b in blocks if any(content[b : b + BLOCK])])

    def read_each(self, disk: int, places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, bytearray]]:
        for offset, length in places:
            assert self.open
            self._machine.world.tick()
            yield offset, bytearray(self._content[disk][offset : offset + length])

    def still_valid(self) -> bool:
        return self.checkpoint is not None or not self._machine.on

    def close(self) -> None:
        self.open = False
        self._machine.held = None


class MemoryMachine:
    """``bitmaps`` says by checkpoint and disk which blocks were written since."""

    def __init__(self, sizes: Sequence[int], world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.content = {index: bytearray(size) for index, size in enumerate(sizes)}
        self.bitmaps: dict[str, dict[int, set[int]]] = {}
        self.held: MemoryMoment | None = None
        self.on = True
        self.writes = 0
        self.agent = False

    def write(self, disk: int, offset: int, data: bytes) -> None:
        assert self.on
        self.content[disk][offset : offset + len(data)] = data
        self.writes += 1
        for blocks in self.bitmaps.values():
            blocks[disk] |= set(range(offset // BLOCK, (offset + len(data) - 1) // BLOCK + 1))

    def lose_bitmaps(self) -> None:
        self.bitmaps = {name: {} for name in self.bitmaps}

    def disks(self) -> list[CapturedDisk]:
        return [
            CapturedDisk(index, f"vd{'abc'[index]}", self.folder / f"disk{index}.qcow2", len(content))
            for index, content in self.content.items()
        ]

    def freeze(self, since: str | None, checkpoint: str) -> MemoryMoment:
        assert self.held is None, "one backup at a time"
        self.world.tick()
        if not self.on and since is None:
            raise MachineOff("off")
        if since is not None and not self.bitmaps.get(since):
            raise TrackingLost(f"no bitmap {since}")
        dirty = {disk: set(blocks) for disk, blocks in self.bitmaps[since].items()} if since is not None else None
        if self.on:
            self.bitmaps[checkpoint] = {disk: set() for disk in self.content}
        self.held = MemoryMoment(self, checkpoint if self.on else None, dirty)
        self.world.tick()
        return self.held

    def release(self) -> None:
        if self.held is not None:
            self.held.close()

    def checkpoints(self) -> list[str]:
        return list(self.bitmaps)

    def forget(self, checkpoint: str) -> None:
        self.world.tick()
        del self.bitmaps[checkpoint]

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        if not self.agent:
            raise NotQuiet("no agent")
        yield
