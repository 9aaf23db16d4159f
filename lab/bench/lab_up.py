"""Rows ``lab-up`` and ``lab-up-virt-install``: the lab against bare QEMU processes and ``virt-install``, in turn."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.bench.asked import Asked
from lab.bench.bare import started, wait_login
from lab.bench.by_hand import prepare, provided, warm
from lab.bench.rows import Pair, Row, close_to_limit, faster_than_peer
from lab.bench.unpacked import NotToBeHad
from lab.bench.virt_install import PROGRAM, by_virt_install
from lab.doctor.acceleration import acceleration
from lab.images.cache import Image
from lab.provision.board import Board
from lab.provision.down import tear_down
from lab.provision.home import Home
from lab.provision.lab import BOOT_SECONDS
from lab.provision.up import bring_up
from lab.topology.model import Topology
from lab.waiting import Deadline

NAME, VIRT_INSTALL = "lab-up", "lab-up-virt-install"
NAMES = (NAME, VIRT_INSTALL)
LAB = "bench"
GOAL, VIRT_INSTALL_GOAL = 1.15, 1.0


def lab_up(topology: Topology, home: Home, asked: Asked) -> bool:
    """Measure in turn, others first; return whether the lab of the last turn is up. Raises LabError.

    One of the others that fails makes no row, and takes no other with it.
    """
    wanted = _to_be_had(asked)
    if not wanted:
        return False
    images = provided(topology, home)
    mode = _mode(home, images)
    warm(images)
    others: dict[str, Callable[[], float]] = {
        NAME: lambda: _by_hand(topology, home, images, mode, asked.board),
        VIRT_INSTALL: lambda: by_virt_install(topology, home, images, asked.board, lab=LAB, mode=mode),
    }
    found: dict[str, list[Pair]] = {name: [] for name in wanted}
    for _ in range(asked.times):
        tear_down(home, LAB, asked.board)
        took: dict[str, float] = {}
        for name in wanted:
            with asked.problems.put_aside(name):
                took[name] = others[name]()
        begin = time.monotonic()
        bring_up(topology, home, LAB, asked.board).close()
        ours = time.monotonic() - begin
        for name, seconds in took.items():
            found[name].append((ours, seconds))
    asked.report(rows(found))
    return True


def rows(found: dict[str, list[Pair]]) -> list[Row]:
    """Return the rows for which there is something."""
    made = []
    if limits := found.get(NAME):
        made.append(close_to_limit(NAME, "s", limits, GOAL))
    if peers := found.get(VIRT_INSTALL):
        made.append(faster_than_peer(VIRT_INSTALL, "s", peers, VIRT_INSTALL_GOAL))
    return made


def _to_be_had(asked: Asked) -> list[str]:
    """Return the rows to be measured; say why one is left out."""
    wanted = [name for name in NAMES if name in asked.names]
    if VIRT_INSTALL in wanted:
        try:
            PROGRAM.provide()
        except NotToBeHad as error:
            asked.board.step(VIRT_INSTALL, f"is left out: {error}")
            wanted.remove(VIRT_INSTALL)
    return wanted


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
        # The pool ends last: those who wait for a login give up once their machines have ended.
        with ThreadPoolExecutor(len(machines)) as pool, started(machines, mode) as processes:
            deadline = Deadline.after(BOOT_SECONDS[mode])
            jobs = [pool.submit(wait_login, machine, processes[machine.name], deadline) for machine in machines]
            for job in jobs:
                job.result()
            seconds = time.monotonic() - begin
        board.step("bare machines", "ready")
        return seconds
