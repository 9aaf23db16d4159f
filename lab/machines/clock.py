"""A machine's wall clock against this host's: it stands still while a machine is paused or saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from lab.errors import LabError
from lab.machines.ssh import SshTransport
from lab.oracle.clocks import DRIFT

READINGS = 3
"""At most; one with a short way there and back is enough."""
SHORT_SECONDS = 0.1
TOLERANCE_SECONDS = 0.5
"""A machine that boots takes whole seconds from its hardware clock, so this is more than they all begin with."""
NANO = 10**9
READ = ("date", "+%s%N")
SETTINGS = 3
"""At most: where the ways there and back differ much, because the host is busy, the first reading is wrong by that."""
SHIFT_READINGS = 8


@dataclass(frozen=True)
class ClockReading:
    """How far a machine's clock is behind this host's, and by how much that may be wrong; seconds."""

    behind: float
    error: float

    @classmethod
    def between(cls, begin: int, there: int, end: int) -> ClockReading:
        """Return the reading of a machine that said ``there`` at some time from ``begin`` to ``end`` (all in ns)."""
        return cls(((begin + end) / 2 - there) / NANO, (end - begin) / 2 / NANO)


def read_clock(ssh: SshTransport) -> ClockReading:
    """Return the best of some readings. Raises LabError."""
    return best_reading(lambda: _read(ssh))


def best_reading(read: Callable[[], ClockReading]) -> ClockReading:
    """Return the best of some readings: the one with the shortest way there and back."""
    best = read()
    for _ in range(READINGS - 1):
        if best.error <= SHORT_SECONDS:
            break
        best = min(best, read(), key=_error)
    return best


def moved(machine: str, first: ClockReading, move: Callable[[float], ClockReading]) -> float:
    """Have a machine's clock set to this host's and return by how many seconds it was moved.

    ``move`` has the machine add so many seconds to its own clock, so that the time which the order needs to get there
    does not count, and reads it again.

    Raises:
        LabError: it is wrong afterwards.
    """
    left = first
    for _ in range(SETTINGS):
        if abs(left.behind) > left.error:
            left = move(left.behind)
        if abs(left.behind) <= TOLERANCE_SECONDS + left.error:
            return first.behind
    raise LabError(f"the clock of {machine} was set and is still {left.behind:.1f} s behind")


@dataclass(frozen=True)
class ClockShift:
    """How far a machine's wall clock was ahead of another one's, and by how much that may be wrong; nanoseconds."""

    ahead_ns: int
    error_ns: int
    read_ns: int
    """When, by this host's clock."""

    def error_at(self, now_ns: int) -> int:
        """Return how wrong it may be at another time: the two clocks drift apart."""
        return self.error_ns + int(abs(now_ns - self.read_ns) * DRIFT)


def shift_between(ahead: SshTransport, other: SshTransport) -> ClockShift:
    """Compare two machines' clocks, each with this host's. Raises LabError."""
    mine, theirs = (min((_read(ssh) for _ in range(SHIFT_READINGS)), key=_error) for ssh in (ahead, other))
    error = int((mine.error + theirs.error) * NANO)
    return ClockShift(int((theirs.behind - mine.behind) * NANO), error, time.time_ns())


def _error(reading: ClockReading) -> float:
    return reading.error


def _read(ssh: SshTransport) -> ClockReading:
    begin = time.time_ns()
    there = int(ssh.check(*READ))
    return ClockReading.between(begin, there, time.time_ns())
