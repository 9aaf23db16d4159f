"""When the next cut is due: times are seconds of the monotonic clock. Decides, and waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

GROUP_PATIENCE = 2.0
"""A member of a group makes a cut of its own when none came from the group for so many intervals."""

LOOK_S = 1.0
"""How often somebody who asks for it looks whether a cut is due early."""


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

    def wait_due(self, stop: threading.Event, early: Callable[[], bool] | None = None) -> bool:
        """Wait until a cut is due, also when others are noted meanwhile; return False when ``stop`` was set.

        ``early`` is asked every LOOK_S seconds whether it is due before its time.
        """
        while (left := self.wait_s(time.monotonic())) > 0:
            if stop.wait(left if early is None else min(left, LOOK_S)):
                return False
            if early is not None and early():
                break
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
