"""A machine's wall clock against this host's: it stands still while a machine is paused or saved."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lab.errors import LabError
from lab.machines.ssh import SshTransport

READINGS = 3
TOLERANCE_SECONDS = 0.5
"""A machine that boots takes whole seconds from its hardware clock, so this is more than they all begin with."""
NANO = 10**9


@dataclass(frozen=True)
class ClockReading:
    """How far a machine's clock is behind this host's, and by how much that may be wrong; seconds."""

    behind: float
    error: float


def read_clock(ssh: SshTransport) -> ClockReading:
    """Return the best of some readings: the one with the shortest way there and back. Raises LabError."""
    return min((_read(ssh) for _ in range(READINGS)), key=lambda reading: reading.error)


def set_clock(ssh: SshTransport) -> float:
    """Set a machine's clock to this host's and return by how many seconds it was moved.

    The machine adds what is missing to its own clock, so the time that the command needs to get there does not count.

    Raises:
        LabError: it cannot be set, or is wrong afterwards.
    """
    found = read_clock(ssh)
    if abs(found.behind) > found.error:
        ssh.check("date", "--set", f"now {found.behind:+.6f} seconds")
    left = read_clock(ssh)
    if abs(left.behind) > TOLERANCE_SECONDS + left.error:
        raise LabError(f"the clock of {ssh.machine} was set and is still {left.behind:.1f} s behind")
    return found.behind


def _read(ssh: SshTransport) -> ClockReading:
    begin = time.time_ns()
    there = int(ssh.check("date", "+%s%N"))
    end = time.time_ns()
    return ClockReading(((begin + end) / 2 - there) / NANO, (end - begin) / 2 / NANO)
