"""When the next cut is due: times are seconds of the monotonic clock. Decides, and waits."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

GROUP_PATIENCE = 2.0
"""A member of a group makes a cut of its own when none came from the group for so many intervals."""


@dataclass
class Schedule:
    """The pace of one machine's cuts; ``application_interval_s`` None: never quiet applications."""

    interval_s: float
    application_interval_s: float | None
    patience: float
    last: float
    last_application: float

    @classmethod
    def starting(cls, now: float, interval_s: float, application_interval_s: float | None, *, group: bool) -> Schedule:
        """Return the schedule of a replication that begins now."""
        return cls(interval_s, application_interval_s, GROUP_PATIENCE if group else 1.0, now, now)

    def wait_s(self, now: float) -> float:
        """Return how long nothing is due, 0 when something is."""
        return max(0.0, self.last + self.interval_s * self.patience - now)

    def wait_due(self, stop: threading.Event) -> bool:
        """Wait until a cut is due, also when others are noted meanwhile; return False when ``stop`` was set."""
        while (left := self.wait_s(time.monotonic())) > 0:
            if stop.wait(left):
                return False
        return not stop.is_set()

    def application_due(self, now: float) -> bool:
        """Return whether the next cut should quiet applications."""
        interval = self.application_interval_s
        return interval is not None and now >= self.last_application + interval

    def note(self, now: float, *, application: bool = False) -> None:
        """A cut was made, or tried: the next one is an interval away."""
        self.last = now
        if application:
            self.last_application = now
