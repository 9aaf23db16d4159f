"""A lab that goes on from a saved one: new disks over the saved ones, new switches, the same machines."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from lab.errors import LabError
from lab.hypervisors.protocols import HypervisorError
from lab.provision.blueprint import blueprint
from lab.provision.board import Board
from lab.provision.home import Home
from lab.provision.lab import Lab
from lab.provision.state import Phase, WentOn, save_state
from lab.provision.up import first_state, open_hypervisor
from lab.saved.store import Entry
from lab.saved.take import (
    KEPT,
    LAB,
    disk_file,
    in_parallel,
    machine_files,
    saving_host,
    wake_when_ready,
)
from lab.stacks.adapters import adapter_of
from lab.topology.model import Topology
from lab.waiting import Deadline

START_SECONDS = 120.0
"""For one machine."""


def prepare(topology: Topology, home: Home, name: str, entry: Entry) -> Lab:
    """Write the files of a lab of which no machine exists yet, and open it.

    From then on the lab's state says that it stands on the saved one, which therefore stays.
    """
    folder = home.lab(name)
    folder.make()
    state = first_state(topology, name, entry.saved.acceleration, entry.saved.host_keys).model_copy(
        update={"went_on": WentOn(key=entry.saved.key, taken_ns=entry.saved.taken_ns)}
    )
    save_state(folder, state)
    for part in KEPT:
        shutil.copytree(entry.folder / LAB / part, folder.path / part, dirs_exist_ok=True)
    entry.touch()
    return Lab(topology, folder, state, open_hypervisor(state, home))


def go_on(lab: Lab, entry: Entry, board: Board) -> None:
    """Start all machines from the saved ones, set their clocks, and let the stack go on.

    Raises:
        LabError: a machine or the stack did not go on; what exists keeps running for whoever wants to look.
    """
    names = list(lab.topology.machines)
    resume = adapter_of(lab.topology).resume
    if resume is None:
        raise LabError(f"the adapter {lab.topology.stack.adapter} does not say how its stack goes on")
    with ThreadPoolExecutor(1, thread_name_prefix="stack") as pool:
        stack = pool.submit(resume, lab, board)
        _start_machines(lab, entry, names, board)
        in_parallel(lambda name: _ready(lab, name, board), names)
        finish = stack.result()
    finish()
    lab.state = lab.state.model_copy(update={"phase": Phase.UP})
    save_state(lab.folder, lab.state)


def _start_machines(lab: Lab, entry: Entry, names: Sequence[str], board: Board) -> None:
    """Have all machines run from what was saved. Raises LabError."""
    host = saving_host(lab)
    try:
        for name in names:
            # One after the other: the first one makes what all have in common.
            _define(lab, name, entry.folder)
        in_parallel(lambda name: _load(lab, name, entry.folder, board), names)
        for name in names:
            host.saving.resume(name)
    except (HypervisorError, OSError, TimeoutError) as error:
        raise LabError(f"saved lab {entry.saved.key} does not go on: {error}") from error


def _define(lab: Lab, name: str, folder: Path) -> None:
    plan = blueprint(lab.topology, name)
    for attachment in plan.spec.disks:
        size = plan.disk_sizes[attachment.disk]
        lab.hypervisor.import_disk(attachment.disk, disk_file(folder, attachment.disk.name), size)
    lab.hypervisor.define(replace(plan.spec, seed=str(lab.folder.seeds / f"{name}.iso")))


def _load(lab: Lab, name: str, folder: Path, board: Board) -> None:
    state, memory = machine_files(folder, name)
    saving_host(lab).saving.go_on(name, state, memory, Deadline.after(START_SECONDS))
    board.step(name, "loaded")


def _ready(lab: Lab, name: str, board: Board) -> None:
    try:
        seconds = wake_when_ready(lab, name)
    except LabError:
        board.step(name, "failed")
        raise
    board.step(name, f"clock set by {seconds:.1f} s")
    board.step(name, "ready")
