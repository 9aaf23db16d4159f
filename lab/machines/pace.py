"""How fast a machine's clock runs.

A kernel measures its time stamp counter while it boots. Without acceleration, on a host that is too busy, it can get it
wrong, and believes that for ever: 75 times too slow and 42 times too fast were seen (decision 0022).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from lab.machines.clock import read_clock
from lab.machines.ssh import SshTransport
from lab.waiting import DeadlineExceeded

RIGHT = (0.8, 1.25)
"""Clocks that are only bad drift by thousandths; what was measured wrong is wrong by factors."""
NAP_SECONDS = 0.5
LONGEST_SECONDS = 20.0
SHORTEST_SECONDS = 1e-3


@dataclass(frozen=True)
class Pace:
    """Between which bounds it lies how many seconds pass on a machine in a second of this host."""

    least: float
    most: float

    @property
    def right(self) -> bool:
        """Whether it may be that of a clock."""
        slowest, fastest = RIGHT
        return self.most >= slowest and self.least <= fastest

    def __str__(self) -> str:
        """Say it in words of a message."""
        return f"{self.least:.2f} to {self.most:.2f} times as fast as this host's"


def pace_of(passed_there: float, passed_here: float, error: float) -> Pace:
    """Return the pace of a clock on which ``passed_there`` passed, give or take ``error``; seconds."""
    here = max(passed_here, SHORTEST_SECONDS)
    return Pace(max(0.0, passed_there - error) / here, (passed_there + error) / here)


def read_pace(ssh: SshTransport) -> Pace:
    """Compare a machine's clock with this host's over a nap of the machine. Raises LabError."""
    first, began = read_clock(ssh), time.monotonic()
    try:
        ssh.run("sleep", str(NAP_SECONDS), seconds=LONGEST_SECONDS)
    except DeadlineExceeded:
        ssh.close()  # It still naps: the clock stands nearly still, or the host has no time at all; the readings tell.
    last, passed = read_clock(ssh), time.monotonic() - began
    return pace_of(passed - (last.behind - first.behind), passed, first.error + last.error)
