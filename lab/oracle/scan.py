"""What a copy of a volume holds, from the lines of the native tool's ``scan``. Streaming: a line at a time.

Lines (all numbers decimal; blocks count in the volume's file, slots in the lane's area, times in ns):
``V 1 machine volume blocks``: begin.
``L lane epoch first-slot first-seq count last-kind issued previous-ack clock...``: consecutive LOG records; the last
three fields are those of the last one.
``H lane first-slot epoch seq...``: versions in consecutive HOT slots, 0 for never overwritten.
``N lane epoch seq issued previous-ack clock...``: the newest HOT record.
``F lane first-slot count``: LOG slots never used.
``B what lane first-block count``: blocks that do not hold what belongs there.
``Z blocks``: end; without it the stream is cut short.
"""

from __future__ import annotations

import subprocess
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.oracle.group import Group

MARKER_KIND = 3
MAX_RUNS = 4096
"""Runs that are kept for a lane: a sound copy has three at most, so more says only how bad it is."""
MAX_DAMAGE = 4096
"""Pieces of damage that are kept for a volume."""
ABSENT = -1
"""In ``LaneCopy.hot``: the slot holds no whole record of its lane."""


class ScanFailed(RuntimeError):
    """The tool's output is not a whole scan of the volume that was asked for."""


@dataclass(frozen=True)
class Run:
    """LOG records ``first`` to ``last`` in neighbouring slots, each naming the one before; the rest is of the last."""

    epoch: int
    first: int
    last: int
    kind: int
    issued_ns: int
    clock: tuple[int, ...]


@dataclass(frozen=True)
class NewestHot:
    """The newest HOT record of a lane; time by its machine's clock."""

    epoch: int
    seq: int
    issued_ns: int
    clock: tuple[int, ...] = ()


@dataclass(frozen=True)
class Damage:
    """Blocks that hold nothing sound.

    ``what``: torn:SECTORS, zero, garbage, absent (the file is too short), forked, foreign-run, misdirected:RECORD;
    "shattered" and "more" stand for what was too much to keep.
    """

    what: str
    machine: int
    volume: int
    lane: int
    first_block: int
    count: int


@dataclass
class LaneCopy:
    """What a copy holds of one lane. Memory: O(hot slots)."""

    runs: list[Run] = field(default_factory=list)
    hot: array[int] = field(default_factory=lambda: array("q"))
    """Sequence number by slot, ABSENT for none."""
    hot_epochs: array[int] = field(default_factory=lambda: array("q"))
    newest_hot: NewestHot | None = None
    blank: int = 0
    """LOG slots that were never written to."""


@dataclass
class Copy:
    """What copies of a group's volumes hold: lanes by number, and all damage."""

    lanes: dict[int, LaneCopy] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)

    def add(self, other: Copy) -> None:
        """Take in what another volume's copy holds."""
        self.lanes.update(other.lanes)
        self.damage.extend(other.damage)


def parse_scan(lines: Iterable[str], group: Group, machine: int, volume: int) -> Copy:
    """Read a scan.

    Raises:
        ScanFailed: a line is unknown, the stream ends early, or it is about another volume.
    """
    empty = [ABSENT] * group.hot_slots
    lanes = {lane.index: LaneCopy([], array("q", empty), array("q", empty)) for lane in group.lanes_of(machine, volume)}
    copy = Copy(lanes)
    whole = False
    for line in lines:
        words = line.split()
        try:
            whole = _take(copy, words, group, machine, volume)
        except (ValueError, KeyError, IndexError) as error:
            raise ScanFailed(f"{line[:120]!r} is no line of a scan: {error!r}") from error
    if not whole:
        raise ScanFailed(f"the scan of volume {volume} of machine {machine} ended early")
    return copy


def _take(copy: Copy, words: Sequence[str], group: Group, machine: int, volume: int) -> bool:
    """Take one line in; whether it was the last."""
    kind, numbers = words[0], words[1:]
    if kind == "L":
        lane, epoch, _, first, count, last_kind, issued, _, *clock = map(int, numbers)
        _keep(copy, Run(epoch, first, first + count - 1, last_kind, issued, tuple(clock)), (machine, volume, lane))
    elif kind == "H":
        lane, slot, epoch, *found = map(int, numbers)
        copy.lanes[lane].hot[slot : slot + len(found)] = array("q", found)
        copy.lanes[lane].hot_epochs[slot : slot + len(found)] = array("q", [epoch]) * len(found)
    elif kind == "N":
        lane, epoch, seq, issued, _, *clock = map(int, numbers)
        copy.lanes[lane].newest_hot = NewestHot(epoch, seq, issued, tuple(clock))
    elif kind == "B":
        lane, block, count = map(int, numbers[1:])
        what = numbers[0] if len(copy.damage) < MAX_DAMAGE else "more"
        if len(copy.damage) <= MAX_DAMAGE:
            copy.damage.append(Damage(what, machine, volume, lane, block, count))
    elif kind == "V" and list(map(int, numbers)) != [1, machine, volume, group.volume_blocks]:
        raise ValueError("another volume, or another layout")
    elif kind == "F":
        lane, _, count = map(int, numbers)
        copy.lanes[lane].blank += count
    elif kind not in {"V", "Z"}:
        raise ValueError("unknown kind")
    return kind == "Z"


def _keep(copy: Copy, run: Run, place: tuple[int, int, int]) -> None:
    machine, volume, lane = place
    runs = copy.lanes[lane].runs
    if len(runs) == MAX_RUNS:
        copy.damage.append(Damage("shattered", machine, volume, lane, 1, 1))
    if len(runs) <= MAX_RUNS:
        runs.append(run)


def scan_file(
    tool: Path,
    group: Group,
    place: tuple[int, int],
    path: Path,
    extents: Sequence[tuple[int, int]] = (),
    *,
    uncached: bool = True,
) -> Copy:
    """Scan a copy of the volume at ``place`` (machine, volume) with the native tool; see ``Group.scan_arguments``.

    Raises:
        ScanFailed: the tool failed.
    """
    arguments = [str(tool), *group.scan_arguments(*place, str(path), extents, uncached=uncached)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for
        assert process.stderr is not None  # noqa: S101 - PIPE was asked for
        try:
            return parse_scan(process.stdout, group, *place)
        except ScanFailed as error:
            process.stdout.close()
            raise ScanFailed(f"{error}: {process.stderr.read().strip()}") from error


def scan_group(tool: Path, group: Group, paths: dict[tuple[int, int], Path]) -> Copy:
    """Scan copies of all of a group's volumes, by (machine, volume). Raises ScanFailed."""
    copy = Copy()
    for place, path in paths.items():
        copy.add(scan_file(tool, group, place, path))
    return copy
