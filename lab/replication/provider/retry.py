"""Retry classes of replication from a host (domain 2.4): what is tried again and when, and what is given up."""

from __future__ import annotations

import itertools
import ssl
import threading
from collections.abc import Iterator

from lab.replication.provider.tracking import MachineMissing

PAUSES = (1, 2, 4, 8, 10)
LAST_PAUSE = 30
UNIT_S = 60.0
"""The pauses are minutes."""


class GivenUp(Exception):
    """A failure that trying again does not cure: replication is critical until somebody orders it anew."""


class RetryPauses:
    """1, 2, 4, 8, 10 and then always 30 units of ``unit_s`` seconds, until ``reset``; a stop ends a pause at once."""

    def __init__(self, stop: threading.Event, unit_s: float = UNIT_S) -> None:
        self._stop = stop
        self._unit_s = unit_s
        self._left = _units()

    def pause(self) -> bool:
        """Wait; return False as soon as the service has to stop."""
        return not self._stop.wait(next(self._left) * self._unit_s)

    def reset(self) -> None:
        """Begin with the shortest pause again: something has worked."""
        self._left = _units()


def is_recoverable(error: BaseException) -> bool:
    """Return whether trying again may help: a wrong peer stays one, and a missing machine stays missing.

    What made an error counts too.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (GivenUp, MachineMissing, ssl.SSLCertVerificationError)):
            return False
        seen = seen.__cause__
    return True


def _units() -> Iterator[int]:
    return itertools.chain(PAUSES, itertools.repeat(LAST_PAUSE))
