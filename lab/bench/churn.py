"""Whether delta replication keeps up with steady random writes on all protected machines at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles

from lab.bench import scribble
from lab.bench.replication import data_disk, protect
from lab.bench.rows import Row, at_least, close_to_limit, within
from lab.machines.ssh import SshTransport
from lab.provision.board import Board
from lab.provision.lab import Lab
from lab.stacks.adapters import deployed
from lab.stacks.protocol import Stack
from lab.waiting import Deadline

NAME = "churn"
TOOL = "/run/lab-bench-scribble.py"
RATE = 5e6
"""Bytes a second on each machine."""
SECONDS = 600.0
FILE_BYTES = 128 << 20
SAMPLE_SECONDS = 2.0
RPO_GOAL = 30.0
GROWTH_GOAL = 1.25
RATE_GOAL = 0.95
"""Of the rate that is asked for: else the machine itself was too slow, and the other rows say little."""
MARGIN_SECONDS = 300.0


def churn(lab: Lab, board: Board, seconds: float = SECONDS) -> list[Row]:
    """Protect all machines, write on all of them, and watch how old their newest recovery points are."""
    names = list(lab.topology.stack.protect)
    with deployed(lab, board) as stack:
        stack.set_up()
        for name in names:
            protect(stack, lab, name, board)
        with ThreadPoolExecutor(len(names), thread_name_prefix="scribble") as pool:
            writing = {name: pool.submit(_scribble, lab, name, seconds) for name in names}
            ages = _watch(stack, names, seconds, board)
            written = sum(job.result() for job in writing.values())
    return rows(ages, written / len(names) / seconds)


def rows(ages: Mapping[str, Sequence[float]], bytes_per_second: float) -> list[Row]:
    """Return the rows: age of the newest point, whether it grows, and what was really written on each machine."""
    everything = [age for own in ages.values() for age in own]
    halves = [(_p99(own[len(own) // 2 :]), _p99(own[: len(own) // 2])) for own in ages.values()]
    return [
        within(f"{NAME}-rpo-p99", "s", _p99(everything), RPO_GOAL),
        close_to_limit(f"{NAME}-rpo-growth", "s", halves, GROWTH_GOAL),
        at_least(f"{NAME}-rate", "MB/s", [(bytes_per_second / 1e6, RATE / 1e6)], RATE_GOAL),
    ]


def _p99(ages: Sequence[float]) -> float:
    return quantiles(ages, n=100)[98]


def _scribble(lab: Lab, name: str, seconds: float) -> int:
    ssh: SshTransport = lab.machine(name).ssh
    ssh.put(Path(scribble.__file__).read_bytes(), TOOL)
    path = f"{data_disk(lab.topology, name).mount}/churn.bin"
    arguments = (path, str(FILE_BYTES), str(RATE), str(seconds))
    return int(ssh.check("python3", TOOL, *arguments, seconds=seconds + MARGIN_SECONDS))


def _watch(stack: Stack, names: Sequence[str], seconds: float, board: Board) -> dict[str, list[float]]:
    ages: dict[str, list[float]] = {name: [] for name in names}
    pause, deadline = threading.Event(), Deadline.after(seconds)
    board.step("churn", f"writing {RATE / 1e6:.0f} MB/s on each of {len(names)} machines for {seconds:.0f} s")
    while not deadline.expired:
        for name in names:
            age = stack.machine(name).rpo_seconds
            if age is not None:
                ages[name].append(age)
        pause.wait(deadline.clamp(SAMPLE_SECONDS))
    board.step("churn", "ready")
    return ages
