"""Churn beside DRBD: the same writer on file systems that protocol A mirrors, and how far the copies are behind.

How far: a block behind the file system is written through DRBD and looked for on the other machine's disk, below DRBD.
Until it is there the copy is behind; the time has the two commands in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from lab.bench.asked import Asked
from lab.bench.churn import MIN_SAMPLES, SAMPLE_SECONDS, SHORT_SECONDS, STEPS, Watched, churn, fill, step_of
from lab.bench.churn_steps import ABANDON_SECONDS, MIRRORED, Step, beside, next_rate, rows
from lab.bench.mirror import (
    ASYNCHRONOUS,
    BLOCK,
    Mirror,
    connected,
    format_device,
    mirror_of,
    mounted,
    promote,
    wait_whole,
)
from lab.bench.protecting import end_protection
from lab.provision.board import Board
from lab.provision.lab import Lab
from lab.stacks.adapters import deployed
from lab.waiting import Deadline, DeadlineExceeded, wait_until

FOLDER = "/mnt/lab-bench"
RESERVED = 1 << 20
"""Behind the file system."""
WRITE = """set -o pipefail; printf "%04096d" "$3" | dd of="$1" bs=4096 seek="$2" count=1 iflag=fullblock \
  oflag=direct conv=notrunc status=none"""
READ = 'dd if="$1" bs=4096 skip="$2" count=1 iflag=direct status=none | tr -dc 0-9'


@dataclass(frozen=True)
class Marked:
    """A mirror whose last block nothing else writes. ``size``: of its disk."""

    mirror: Mirror
    size: int

    def behind(self, number: int) -> float:
        """Write a number, wait for it on the other machine, and return the seconds. Raises DeadlineExceeded."""
        place = str(self.size // BLOCK - 1)
        begin = time.monotonic()
        source, target = self.mirror.source.ssh, self.mirror.target.ssh
        source.check("bash", "-c", WRITE, "bash", self.mirror.device, place, str(number))

        def arrived() -> bool:
            return target.check("bash", "-c", READ, "bash", self.mirror.disk, place).strip() == f"{number:04096d}"

        wait_until(arrived, Deadline.after(ABANDON_SECONDS), f"block {number} of {self.mirror.name}")
        return time.monotonic() - begin


def churn_rows(lab: Lab, asked: Asked) -> None:
    """Measure the stack's churn, then DRBD's if that is asked for, with nothing protected any more. Raises LabError."""
    board = asked.board
    ours = churn(lab, board)
    asked.report(rows(ours))
    if MIRRORED in asked.names:
        with deployed(lab, board) as stack:
            for name in lab.topology.stack.protect:
                end_protection(stack, name)
        asked.report([beside(ours, churn_mirrored(lab, board))])


def churn_mirrored(lab: Lab, board: Board, seconds: float = SHORT_SECONDS) -> list[Step]:
    """Mirror every protected machine's spare disk, write on all of them, slower if it broke. Raises LabError."""
    names = list(lab.topology.stack.protect)
    marked = {name: _marked(lab, name, minor) for minor, name in enumerate(names)}
    files = dict.fromkeys(names, f"{FOLDER}/churn.bin")
    steps: list[Step] = []
    with ExitStack() as running:
        for name, one in marked.items():
            board.step(f"{name} drbd", "first copy")
            running.enter_context(connected(one.mirror, ASYNCHRONOUS))
            promote(one.mirror)
        for name, one in marked.items():
            wait_whole(one.mirror)
            board.step(f"{name} drbd", "ready")
            blocks = str((one.size - RESERVED) // BLOCK)
            format_device(one.mirror.source.ssh, one.mirror.device, blocks)
            running.enter_context(mounted(one.mirror.source.ssh, one.mirror.device, FOLDER))
            fill(lab, name, files[name], board)
        while (rate := next_rate(steps, STEPS)) is not None:
            steps.append(step_of(lab, files, rate, seconds, lambda: watch(marked, seconds)))
            board.step(MIRRORED, steps[-1].told)
    return steps


def watch(marked: Mapping[str, Marked], seconds: float) -> Watched:
    """Look how far the copies are behind until the time is over, or one does not come any more."""
    behind: dict[str, list[float]] = {name: [] for name in marked}
    pause, deadline, number, broke = threading.Event(), Deadline.after(seconds), 0, ""
    while not deadline.expired and not (broke and all(len(own) >= MIN_SAMPLES for own in behind.values())):
        number += 1
        for name, one in marked.items():
            try:
                found = one.behind(number)
            except DeadlineExceeded as error:
                found, broke = ABANDON_SECONDS, str(error)
            # Finer than this says more of the commands than of the copy.
            behind[name].append(max(found, SAMPLE_SECONDS))
        pause.wait(deadline.clamp(SAMPLE_SECONDS))
    return behind, broke


def _marked(lab: Lab, name: str, minor: int) -> Marked:
    mirror = mirror_of(lab, name, minor)
    return Marked(mirror, int(mirror.source.ssh.check("blockdev", "--getsize64", mirror.disk)))
