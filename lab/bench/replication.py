"""Rows of initial replication: the stack against ``dd | zstd | ssh`` between the same machines, in turn."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from lab.bench import fill
from lab.bench.peer import lent_key, piped_seconds
from lab.bench.rows import Row, context, faster_than_peer, rate
from lab.errors import BadInput
from lab.machines.ssh import SshTransport
from lab.measure.disks import device_by_serial
from lab.provision.board import Board
from lab.provision.lab import Lab
from lab.stacks.adapters import deployed
from lab.stacks.addresses import address_towards
from lab.stacks.errors import StackError
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.topology.machines import Disk, Purpose
from lab.topology.model import Topology
from lab.topology.naming import disk_serial
from lab.waiting import Deadline, DeadlineExceeded

NAME = "initial-replication"
COMPLETE = "initial-replication-complete"
FILLED = 0.6
FILL_TOOL = "/run/lab-bench-fill.py"
FILL_SECONDS = 600.0
INSTALL_SECONDS = 900.0
REPLICATION_SECONDS = 1800.0
POLL_SECONDS = 15.0


@dataclass(frozen=True)
class Turn:
    """Seconds of one turn."""

    peer: float
    copied: float
    """Until the stack says that everything is copied."""
    protected: float
    """Until there is a first recovery point."""


def replication(lab: Lab, board: Board, times: int) -> list[Row]:
    """Deploy, install, fill a data disk and measure in turn, the peer first. Raises LabError."""
    name = next(iter(lab.topology.stack.protect))
    with deployed(lab, board) as stack:
        stack.set_up()
        install(stack, lab, name, board)
        _fill(lab.machine(name).ssh, data_disk(lab.topology, name), board)
        turns = [_turn(stack, lab, name, board) for _ in range(times)]
    return rows(turns, sum(disk.size for disk in protected_disks(lab.topology, name)))


def rows(turns: list[Turn], size_bytes: int) -> list[Row]:
    """Return the row with the goal, and two of context: rates, and the time until the machine is protected."""
    return [
        faster_than_peer(NAME, "s", [(turn.copied, turn.peer) for turn in turns]),
        context(f"{NAME}-rate", "MB/s", [(rate(size_bytes, t.copied), rate(size_bytes, t.peer)) for t in turns]),
        context(f"{NAME}-until-protected", "s", [(turn.protected, turn.peer) for turn in turns]),
    ]


def protected_disks(topology: Topology, machine: str) -> list[Disk]:
    """Return the disks that are replicated."""
    return [disk for disk in topology.machines[machine].disks if disk.purpose in {Purpose.SYSTEM, Purpose.DATA}]


def data_disk(topology: Topology, machine: str) -> Disk:
    """Return the disk that is filled. Raises BadInput when none has a place in the file system."""
    for disk in topology.machines[machine].disks:
        if disk.purpose is Purpose.DATA and disk.mount:
            return disk
    raise BadInput(f"{topology.source}: {machine} has no data disk with a mount to fill")


def install(stack: Stack, lab: Lab, name: str, board: Board) -> None:
    """Have the agent installed on a machine unless it is there. Raises JobFailed, NeverBooted."""
    stack.protect(name)
    if f"mobility-{name}" in {component.id for component in stack.components()}:
        return
    board.step(f"{name} mobility", "push installation")
    stack.run(name, Operation.PUSH_INSTALL, Deadline.after(INSTALL_SECONDS))
    machine = lab.machine(name)
    machine.ssh.close()  # it was restarted
    machine.wait_ready(Deadline.after(INSTALL_SECONDS))
    board.step(f"{name} mobility", "ready")


def protect(stack: Stack, lab: Lab, name: str, board: Board) -> None:
    """Have a machine replicated, and wait for its first recovery point. Raises LabError."""
    install(stack, lab, name, board)
    if stack.machine(name).state is MachineState.UNPROTECTED:
        board.step(f"{name} replication", "initial replication")
        stack.run(name, Operation.ENABLE, Deadline.after(REPLICATION_SECONDS))
    stack.wait_state(name, MachineState.PROTECTED, deadline=Deadline.after(REPLICATION_SECONDS))
    board.step(f"{name} replication", "ready")


def _fill(ssh: SshTransport, disk: Disk, board: Board) -> None:
    board.step(f"{ssh.machine} {disk.name}", "filling")
    ssh.put(Path(fill.__file__).read_bytes(), FILL_TOOL)
    path, size = f"{disk.mount}/bench.bin", int(disk.size * FILLED)
    ssh.check("python3", FILL_TOOL, path, str(size), seconds=FILL_SECONDS)
    ssh.check("sync", seconds=FILL_SECONDS)
    board.step(f"{ssh.machine} {disk.name}", "ready")


def _turn(stack: Stack, lab: Lab, name: str, board: Board) -> Turn:
    if stack.machine(name).state is not MachineState.UNPROTECTED:
        stack.run(name, Operation.DISABLE, Deadline.after(REPLICATION_SECONDS))
        stack.wait_state(name, MachineState.UNPROTECTED, deadline=Deadline.after(REPLICATION_SECONDS))
        install(stack, lab, name, board)
    board.step(f"{name} dd | zstd | ssh", "copying")
    peer = _peer(lab, name)
    board.step(f"{name} dd | zstd | ssh", "ready")
    board.step(f"{name} replication", "initial replication")
    copied, protected = _replicate(stack, name)
    board.step(f"{name} replication", "ready")
    return Turn(peer, copied, protected)


def _peer(lab: Lab, name: str) -> float:
    topology, source = lab.topology, lab.machine(name).ssh
    master_target = topology.master_target_of(name)
    address = address_towards(topology, topology.machines[name].interfaces, master_target)
    devices = [device_by_serial(source, disk_serial(disk.name)) for disk in protected_disks(topology, name)]
    with lent_key(source, lab.machine(master_target).ssh, address):
        return piped_seconds(source, address, devices)


def _replicate(stack: Stack, name: str) -> tuple[float, float]:
    """Return the seconds until everything is copied, and until the machine is protected."""
    last = newest_event(stack)
    deadline = Deadline.after(REPLICATION_SECONDS)
    begin = time.monotonic()
    stack.start(name, Operation.ENABLE)
    wait_event(stack, last, name, COMPLETE, deadline)
    copied = time.monotonic() - begin
    stack.wait_state(name, MachineState.PROTECTED, deadline=deadline)
    return copied, time.monotonic() - begin


def newest_event(stack: Stack) -> int:
    """Return the number of the last event that there is, 0 if there is none."""
    last = 0
    while events := stack.events(last):
        last = events[-1].id
    return last


def wait_event(stack: Stack, after: int, machine: str, kind: str, deadline: Deadline) -> None:
    """Wait for an event of a machine. Raises StackError when the machine's operation fails, DeadlineExceeded."""
    while True:
        for event in stack.events(after, wait=deadline.clamp(POLL_SECONDS)):
            after = event.id
            if event.kind == kind and event.machine == machine:
                return
        status = stack.machine(machine)
        if status.state.is_failure:
            raise StackError(f"{machine} is {status.state}: {'; '.join(status.health.causes)}")
        if deadline.expired:
            raise DeadlineExceeded(f"no event {kind} of {machine} within {deadline.seconds:.0f} s")
