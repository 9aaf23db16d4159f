"""How fast a copy is read and judged, against ``sha256sum``: ``python -m lab.oracle.speed FILE [--mib N] [--json]``.

FILE is written new: a volume of one lane group as the native writer leaves it. Both read it from the page cache, in
turn, on one core. Goal: at least half the speed of sha256sum.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from lab.oracle.group import BLOCK, Group, Member, Pace, hot_slots_for
from lab.oracle.judge import StoredHistory, judge
from lab.oracle.local import LocalWriter
from lab.oracle.native_tool import native_tool
from lab.oracle.scan import scan_file

GOAL = 0.5
LANES = 4
STEPS = 300


@dataclass(frozen=True)
class Speed:
    """Medians of several turns in MB/s (10**6 bytes); ratio is ours to theirs."""

    bytes_read: int
    oracle_mb_s: float
    sha256sum_mb_s: float
    ratio: float
    turns: int
    goal: float = GOAL

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.ratio >= self.goal


def measure_speed(file: Path, mebibytes: int, turns: int = 3) -> Speed:
    """Write a volume of about this size to ``file``, and read it in turns with the oracle and with sha256sum.

    The core that it runs on is fixed while it measures.

    Raises:
        RuntimeError: the copy is not sound, so its reading proves nothing.
    """
    slots = mebibytes * (1 << 20) // BLOCK // LANES - hot_slots_for(STEPS) - 1
    group = Group(os.urandom(16).hex(), (Member("local", (str(file),)),), LANES, slots, hot_slots_for(STEPS))
    with tempfile.TemporaryDirectory() as folder:
        tool = native_tool(Path(folder) / "tool")
        history = _write(tool, group, Path(folder) / "history")
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})
        try:
            pairs = [(_seconds(lambda: _judge(tool, group, file, history)), _sha256sum(file)) for _ in range(turns)]
        finally:
            os.sched_setaffinity(0, allowed)
    size = file.stat().st_size
    ours, theirs = (size / 1e6 / median(turn[side] for turn in pairs) for side in (0, 1))
    return Speed(size, ours, theirs, ours / theirs, turns)


def _write(tool: Path, group: Group, log: Path) -> StoredHistory:
    writer = LocalWriter(tool, group, 0, log)
    writer.start(Pace())
    writer.wait_steps(STEPS, seconds=600.0)
    writer.stop()
    return StoredHistory(group, {0: log})


def _judge(tool: Path, group: Group, file: Path, history: StoredHistory) -> None:
    verdict = judge(scan_file(tool, group, (0, 0), file, uncached=False), group, history)
    if not verdict.sound:
        raise RuntimeError(f"the copy is not sound: {verdict.findings[:3]}")


def _sha256sum(file: Path) -> float:
    return _seconds(lambda: subprocess.run(["sha256sum", str(file)], check=True, stdout=subprocess.DEVNULL))


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> int:
    """Print the speeds; status 1 below the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    speed = measure_speed(given.file, given.mib)
    ours, theirs = f"{speed.oracle_mb_s:.0f} MB/s", f"sha256sum {speed.sha256sum_mb_s:.0f} MB/s"
    text = f"{ours}, {theirs}, ratio {speed.ratio:.2f} (goal {GOAL})"
    sys.stdout.write((json.dumps(asdict(speed) | {"met": speed.met}) if given.json else text) + "\n")
    return 0 if speed.met else 1


if __name__ == "__main__":
    sys.exit(main())
