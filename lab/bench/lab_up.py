"""Row ``lab-up``: the lab against bare QEMU processes, in turn."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.bench.bare import started, wait_login
from lab.bench.by_hand import prepare, provided, warm
from lab.bench.rows import Row, close_to_limit
from lab.doctor.acceleration import acceleration
from lab.images.cache import Image
from lab.provision.board import Board
from lab.provision.down import tear_down
from lab.provision.home import Home
from lab.provision.lab import BOOT_SECONDS
from lab.provision.up import bring_up
from lab.topology.model import Topology
from lab.waiting import Deadline

NAME = "lab-up"
LAB = "bench"
GOAL = 1.25


def lab_up(topology: Topology, home: Home, board: Board, times: int) -> Row:
    """Measure in turn, by hand first; the lab of the last turn stays up. Raises LabError."""
    images = provided(topology, home)
    mode = _mode(home, images)
    warm(images)
    pairs = []
    for _ in range(times):
        tear_down(home, LAB, board)
        by_hand = _by_hand(topology, home, images, mode, board)
        begin = time.monotonic()
        bring_up(topology, home, LAB, board).close()
        pairs.append((time.monotonic() - begin, by_hand))
    return close_to_limit(NAME, "s", pairs, GOAL)


def _mode(home: Home, images: dict[str, Image]) -> str:
    """Return the acceleration; asked for here, so that the proof is not part of the lab's time."""
    image = next((image for image in images.values() if image.kernel.is_file()), None)
    return acceleration(home.folder, image.kernel if image else None, image.initrd if image else None).value


def _by_hand(topology: Topology, home: Home, images: dict[str, Image], mode: str, board: Board) -> float:
    """Return the seconds from the first process to the last login; files are made before."""
    with tempfile.TemporaryDirectory(dir=home.folder, prefix="bench-") as folder:
        machines = prepare(topology, images, Path(folder))
        board.step("bare machines", "booting")
        begin = time.monotonic()
        with started(machines, mode) as processes, ThreadPoolExecutor(len(machines)) as pool:
            deadline = Deadline.after(BOOT_SECONDS[mode])
            jobs = [pool.submit(wait_login, machine, processes[machine.name], deadline) for machine in machines]
            for job in jobs:
                job.result()
            seconds = time.monotonic() - begin
        board.step("bare machines", "ready")
        return seconds
