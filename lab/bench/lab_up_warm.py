"""Rows ``lab-up-warm`` and ``lab-up-warm-cold``: a lab that goes on from a saved one.

The first compares it with bare QEMU processes that load the same files side by side; the second with booting the
machines and installing the stack.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.bench.bare_loading import START_SECONDS, load, loading, prepared
from lab.bench.lab_up import LAB
from lab.bench.rows import Row, close_to_limit, faster_than_peer
from lab.errors import LabError
from lab.provision.board import Board
from lab.provision.down import tear_down
from lab.provision.home import Home
from lab.provision.lab import Lab
from lab.saved.ready import deployed_and_saved, make_ready
from lab.saved.store import SavedLabs
from lab.stacks.adapters import deployed
from lab.topology.model import Topology
from lab.waiting import Deadline

NAME, COLD = "lab-up-warm", "lab-up-warm-cold"
GOAL = 1.3
TIMES_FASTER = 8.0


def lab_up_warm(topology: Topology, home: Home, board: Board, times: int) -> list[Row]:
    """Measure in turn; the lab of the last turn is down. Raises LabError when labs of the topology are not saved."""
    cold = _booted(topology, home, board)
    _saved(topology, home, board)
    pairs = []
    for _ in range(times):
        tear_down(home, LAB, board)
        begin = time.monotonic()
        lab = make_ready(topology, home, LAB, board, fresh=False)
        ours = time.monotonic() - begin
        pairs.append((ours, _bare(lab, home, board)))
    versus_cold = [(ours, cold) for ours, _ in pairs]
    return [close_to_limit(NAME, "s", pairs, GOAL), faster_than_peer(COLD, "s", versus_cold, TIMES_FASTER)]


def _booted(topology: Topology, home: Home, board: Board) -> float:
    """Return the seconds to boot the machines and to install the stack, without saving anything."""
    tear_down(home, LAB, board)
    begin = time.monotonic()
    lab = make_ready(topology, home, LAB, board, fresh=True)
    with deployed(lab, board):
        seconds = time.monotonic() - begin
    lab.close()
    tear_down(home, LAB, board)
    return seconds


def _saved(topology: Topology, home: Home, board: Board) -> None:
    lab = make_ready(topology, home, LAB, board, fresh=False)
    with deployed_and_saved(lab, home, board):
        pass
    lab.close()


def _bare(lab: Lab, home: Home, board: Board) -> float:
    """Return the seconds from the first bare process to the last login; the lab is taken down before."""
    if lab.state.went_on is None:
        raise LabError(f"lab {LAB} was booted although a saved one was expected; the lines above say why")
    entry = SavedLabs(home.saved).named(lab.state.went_on.key)
    with tempfile.TemporaryDirectory(dir=home.folder, prefix="bench-") as folder:
        machines = prepared(lab, entry, Path(folder))
        lab.close()
        tear_down(home, LAB, board)
        board.step("bare machines", "loading")
        begin = time.monotonic()
        with loading(machines), ThreadPoolExecutor(len(machines)) as pool:
            deadline = Deadline.after(START_SECONDS)
            for job in [pool.submit(load, machine, deadline) for machine in machines]:
                job.result()
            seconds = time.monotonic() - begin
        board.step("bare machines", "ready")
    return seconds
