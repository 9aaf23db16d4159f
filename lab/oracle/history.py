"""What a writer did, as its witness keeps it: lines, typed. Streaming: a line at a time, millions of steps.

Lines (decimal numbers, times in ns by the writer's clock, which begins at the wall clock's time and never steps):
``V 1 run machine epoch now``: a writer began.
``S lane epoch first-seq count first-issue last-ack`` and five numbers for each step: LOG issued (after the
acknowledgement before it), LOG acknowledged (after issue), HOT issued (after that), HOT acknowledged (after issue),
operations accepted but not yet written when LOG was issued.
``M lane epoch marker seq ahead acked``: step seq was a marker. ``E lane epoch base redo``: the lane goes on after base.
``D lane epoch seq issued acked``: HOT(seq) written again after a recovery. ``X lane epoch seq errno at``: refused.
``C peer sent arrived answered back``: an exchange as in NTP. ``W now difference``: the wall clock minus the writer's.
``Z now``: the writer ended by itself, nothing is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


class HistoryDamaged(ValueError):
    """A line in the middle of a history is none of the known ones."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a lane: when its two writes were issued and acknowledged (ns), and what was accepted beyond it."""

    lane: int
    epoch: int
    seq: int
    log_issued: int
    log_acked: int
    hot_issued: int
    hot_acked: int
    ahead: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive steps of a lane, not taken apart yet."""

    lane: int
    epoch: int
    first: int
    count: int
    issued: int
    acked: int
    numbers: str

    @property
    def last(self) -> int:
        """The last step's number."""
        return self.first + self.count - 1

    def steps(self) -> Iterator[Step]:
        """Yield the steps. Raises HistoryDamaged."""
        numbers = list(map(int, self.numbers.split()))
        if len(numbers) != 5 * self.count:
            raise HistoryDamaged(f"{len(numbers)} numbers for {self.count} steps of lane {self.lane}")
        at = self.issued
        for index in range(self.count):
            one, two, three, four, ahead = numbers[5 * index : 5 * index + 5]
            times = (at + one, at + one + two, at + one + two + three, at + one + two + three + four)
            yield Step(self.lane, self.epoch, self.first + index, *times, ahead)
            at = times[3]


@dataclass(frozen=True, slots=True)
class Marker:
    """Step ``seq`` of a lane was marker ``marker``; ``ahead`` operations were accepted and not written before it."""

    lane: int
    epoch: int
    marker: int
    seq: int
    ahead: int
    acked: int


@dataclass(frozen=True, slots=True)
class EpochStart:
    """A lane goes on in a new epoch after step ``base``; with ``redo`` it writes HOT(base) again first."""

    lane: int
    epoch: int
    base: int
    redo: int


@dataclass(frozen=True, slots=True)
class Redo:
    """HOT(seq), written again by a recovery."""

    lane: int
    epoch: int
    seq: int
    issued: int
    acked: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The disk refused a write of step ``seq``."""

    lane: int
    epoch: int
    seq: int
    errno: int
    at: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """Times of a question and its answer between two writers: sent and back by the asker's clock (``machine``)."""

    machine: int
    peer: int
    sent: int
    arrived: int
    answered: int
    back: int


@dataclass(frozen=True, slots=True)
class WallClock:
    """At ``at`` (writer's clock) the machine's wall clock was ``difference`` ns ahead of it."""

    machine: int
    at: int
    difference: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A writer began."""

    run: str
    machine: int
    epoch: int
    at: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A writer ended by itself: everything that it did is in the history."""

    machine: int
    at: int


Event = Batch | Marker | EpochStart | Redo | Refused | Exchange | WallClock | Opened | Ended


def parse_line(line: str, machine: int) -> Event:
    """Return the event of a line from a machine's writer. Raises HistoryDamaged."""
    kind, _, rest = line.partition(" ")
    try:
        if kind == "S":
            lane, epoch, first, count, issued, acked, numbers = rest.split(" ", 6)
            return Batch(int(lane), int(epoch), int(first), int(count), int(issued), int(acked), numbers)
        if kind == "V":
            _, run, *more = rest.split()
            return Opened(run, *map(int, more))
        return _small(kind, [int(word) for word in rest.split()], machine)
    except (ValueError, TypeError, KeyError) as error:
        raise HistoryDamaged(f"{line[:120]!r}: {error!r}") from error


_OF_MACHINES: dict[str, Callable[..., Event]] = {"C": Exchange, "W": WallClock, "Z": Ended}
_OF_LANES: dict[str, Callable[..., Event]] = {"M": Marker, "E": EpochStart, "D": Redo, "X": Refused}


def _small(kind: str, numbers: list[int], machine: int) -> Event:
    if kind in _OF_MACHINES:
        return _OF_MACHINES[kind](machine, *numbers)
    return _OF_LANES[kind](*numbers)


def read_history(path: Path, machine: int) -> Iterator[Event]:
    """Yield the events of a machine's history. A last line without its end is what a dying machine leaves: ignored.

    Raises:
        HistoryDamaged: any other line is not one of a writer.
    """
    with path.open(encoding="ascii") as file:
        for line in file:
            if line.endswith("\n"):
                yield parse_line(line.rstrip("\n"), machine)
