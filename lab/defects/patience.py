"""How much longer everything takes on a busy computer: what a deadline of a test has to be multiplied with."""

from __future__ import annotations

import os

MOST = 10.0


def patience() -> float:
    """Return the programs that want to run for each core, at least 1 and at most 10.

    Whoever gives way to all others (``nice``) gets less than that, so a deadline for an idle computer needs room too.
    """
    return min(MOST, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
