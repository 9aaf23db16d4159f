"""How fast the oracle reads and judges a copy, against ``sha256sum`` over the same file on the same core."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lab.bench.rows import Row, at_least
from lab.oracle.speed import GOAL, measure_speed

NAME = "oracle-judges"
MEBIBYTES = 256


def oracle_speed(turns: int) -> Row:
    """Measure in turns; the peer is sha256sum. Raises RuntimeError when the copy is not sound."""
    with tempfile.TemporaryDirectory() as folder:
        speeds = [measure_speed(Path(folder) / "volume", MEBIBYTES) for _ in range(turns)]
    return at_least(NAME, "MB/s", [(speed.oracle_mb_s, speed.sha256sum_mb_s) for speed in speeds], GOAL)
