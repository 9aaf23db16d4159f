"""How far the machines' clocks are apart, and how sure that is. Pure.

From the four times of an exchange (as NTP's): the other clock is ahead by ((arrived - sent) + (answered - back)) / 2,
and that is wrong by at most half the way, ((back - sent) - (answered - arrived)) / 2, however lopsided the ways are.
Between exchanges clocks drift apart by ``DRIFT`` at most.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

from lab.oracle.history import Exchange, WallClock

DRIFT = 200e-6
"""Two undisciplined clocks of 100 ppm each (crystals are specified below that)."""
NEIGHBOURS = 12
"""Exchanges before and after an instant that are put together."""


@dataclass(frozen=True)
class Offset:
    """The other clock minus the first one, in ns, and how wrong that may be."""

    ns: int
    error_ns: int


@dataclass(frozen=True, order=True)
class _Sample:
    at: int
    offset: int
    error: int


@dataclass
class Clocks:
    """All that a run's histories say about clocks. ``shared``: all writers used one kernel's clock."""

    shared: bool = False
    _samples: dict[tuple[int, int], list[_Sample]] = field(default_factory=dict)
    _walls: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    _sorted: bool = False

    @classmethod
    def of_events(cls, events: Iterable[object]) -> Clocks:
        """Collect exchanges and wall clocks from histories."""
        clocks = cls()
        for event in events:
            clocks.add(event)
        return clocks

    def add(self, event: object) -> None:
        """Take an event in; others than exchanges and wall clocks say nothing."""
        if isinstance(event, WallClock):
            self._walls.setdefault(event.machine, []).append((event.at, event.difference))
        elif isinstance(event, Exchange):
            ahead = ((event.arrived - event.sent) + (event.answered - event.back)) // 2
            way = (event.back - event.sent) - (event.answered - event.arrived)
            if way < 0:
                return  # a clock stepped in between: this says nothing
            error = (way + 1) // 2 + 1
            middle = (event.sent + event.back) // 2
            here, there = event.machine, event.peer
            self._samples.setdefault((here, there), []).append(_Sample(middle, ahead, error))
            self._samples.setdefault((there, here), []).append(_Sample(middle + ahead, -ahead, error))
        self._sorted = False

    def between(self, here: int, there: int, at_ns: int) -> Offset | None:
        """Return how far ``there`` is ahead of ``here`` when ``here`` shows ``at_ns``; None: they never talked."""
        if here == there or self.shared:
            return Offset(0, 0)
        self._sort()
        samples = self._samples.get((here, there))
        if not samples:
            return None
        index = bisect_left(samples, _Sample(at_ns, 0, 0))
        near = samples[max(0, index - NEIGHBOURS) : index + NEIGHBOURS]
        return _combine([(sample, sample.error + int(DRIFT * abs(sample.at - at_ns))) for sample in near])

    def from_wall(self, machine: int, wall_ns: int) -> int:
        """Return the writer's clock of a machine when its wall clock shows ``wall_ns``."""
        self._sort()
        known = self._walls.get(machine, [])
        if not known:
            return wall_ns
        _, difference = min(known, key=lambda item: abs(item[0] + item[1] - wall_ns))
        return wall_ns - difference

    def _sort(self) -> None:
        if not self._sorted:
            for samples in self._samples.values():
                samples.sort()
            self._sorted = True


def _combine(near: list[tuple[_Sample, int]]) -> Offset:
    """Return what all exchanges agree on. When they do not, a clock stepped between them: cover them all."""
    lows = [sample.offset - error for sample, error in near]
    highs = [sample.offset + error for sample, error in near]
    low, high = max(lows), min(highs)
    if low > high:
        low, high = min(lows), max(highs)
    return Offset((low + high) // 2, (high - low + 1) // 2)
