"""Rows ``overhead-random`` and ``overhead-sequential``: fio on a machine without and with protection, A/B/A.

The rows that end in ``-drbd`` do the same on a spare disk of that machine, without and with DRBD on it.

A: before anything of the stack is on the machine. B: protected, while replication follows. A again: after the
protection has ended and the agent was taken off, because writes go through its capture until then. The machines have a
lab of their own, because nothing of the stack may be on them, and images with fio and DRBD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from lab.bench.asked import Asked
from lab.bench.equipped import data_disk, equipped
from lab.bench.fio import FILE_MIB, JOBS, Phases, Round, command, rate_of, rows, rows_beside
from lab.bench.lab_up import LAB
from lab.bench.mirror import ASYNCHRONOUS, Mirror, connected, format_device, mirror_of, mounted, synchronise
from lab.bench.protecting import protect
from lab.errors import LabError
from lab.machines.ssh import SshTransport
from lab.provision.board import Board
from lab.provision.down import tear_down
from lab.provision.home import Home
from lab.provision.lab import Lab
from lab.provision.lent import take_off, wait_started
from lab.saved.ready import make_ready
from lab.stacks.adapters import deployed
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from lab.waiting import Deadline

NAME, MIRRORED = "overhead", "overhead-drbd"
FOLDER = "/mnt/lab-bench"
ROUNDS = 6
FIO_SECONDS = 300.0
SECONDS = 900.0


def overhead(topology: Topology, home: Home, asked: Asked) -> None:
    """Make a lab, measure on one of its protected machines, and take it down. Raises LabError, BadInput."""
    larger, board, rounds = equipped(topology), asked.board, ROUNDS * asked.times
    name = measured_machine(larger)
    with _lab(larger, home, board) as lab:
        with deployed(lab, board) as stack:
            ours = measure(stack, lab, name, board, rounds)
        asked.report(rows(*ours))
        if MIRRORED in asked.names:
            asked.report(rows_beside(ours, measure_mirrored(mirror_of(lab, name), board, rounds)))


def measured_machine(topology: Topology) -> str:
    """Return the protected machine on which fio runs. Raises BadInput."""
    name = list(topology.stack.protect)[-1]
    data_disk(topology, name)
    return name


@contextmanager
def _lab(topology: Topology, home: Home, board: Board) -> Iterator[Lab]:
    tear_down(home, LAB, board)
    try:
        with closing(make_ready(topology, home, LAB, board, fresh=True)) as lab:
            yield lab
    finally:
        tear_down(home, LAB, board)


def measure(stack: Stack, lab: Lab, name: str, board: Board, rounds: int) -> Phases:
    """Measure A/B/A on a machine that has nothing of the stack. Raises LabError."""
    stack.set_up()
    ssh = lab.machine(name).ssh
    fio = _Fio(ssh, f"{data_disk(lab.topology, name).mount}/overhead.bin", board, rounds)
    fio.fill()
    before = fio.phase("without protection")
    protect(stack, lab, name, board)
    protected = fio.phase("protected", lambda begin: _followed(stack, name, begin))
    board.step(f"{name} replication", "ending")
    stack.run(name, Operation.DISABLE, Deadline.after(SECONDS))
    stack.wait_state(name, MachineState.UNPROTECTED, deadline=Deadline.after(SECONDS))
    take_off(ssh)
    board.step(f"{name} replication", "ready")
    return before, protected, fio.phase("without protection again")


def measure_mirrored(mirror: Mirror, board: Board, rounds: int) -> Phases:
    """Measure A/B/A on a spare disk, whose metadata are elsewhere: its file system is the same in all three."""
    ssh = mirror.source.ssh
    fio = _Fio(ssh, f"{FOLDER}/overhead.bin", board, rounds)
    format_device(ssh, mirror.disk)
    with mounted(ssh, mirror.disk, FOLDER):
        fio.fill()
        before = fio.phase("without DRBD")
    with connected(mirror, ASYNCHRONOUS):
        board.step(f"{ssh.machine} drbd", "first copy")
        synchronise(mirror)
        with mounted(ssh, mirror.device, FOLDER):
            mirrored = fio.phase("with DRBD")
    with mounted(ssh, mirror.disk, FOLDER):
        return before, mirrored, fio.phase("without DRBD again")


@dataclass(frozen=True)
class _Fio:
    """fio on one file of one machine."""

    ssh: SshTransport
    path: str
    board: Board
    rounds: int

    def fill(self) -> None:
        """Write the whole file: what is measured finds a place for nothing."""
        where = (f"of={self.path}", "bs=1M", f"count={FILE_MIB}", "conv=fsync")
        self.ssh.check("dd", "if=/dev/urandom", *where, seconds=FIO_SECONDS)

    def phase(self, what: str, after_each: Callable[[int], None] = lambda _begin: None) -> list[Round]:
        """Run every job once in each round; ``after_each`` is told when its round began, by the machine's clock."""
        subject = f"{self.ssh.machine} fio"
        self.board.step(subject, what)
        wait_started(self.ssh)
        found: list[Round] = []
        for _ in range(self.rounds):
            begin = int(self.ssh.check("date", "+%s%N"))
            found.append({job: self._rate(job) for job in JOBS})
            after_each(begin)
            self.board.step(subject, f"{what}: {', '.join(f'{job} {rate:.1f}' for job, rate in found[-1].items())}")
        self.board.step(subject, "ready")
        return found

    def _rate(self, job: str) -> float:
        return rate_of(job, self.ssh.check(*command(job, self.path), seconds=FIO_SECONDS))


def _followed(stack: Stack, name: str, begin_ns: int) -> None:
    """Wait for a point from after the begin of a round. Raises LabError when replication had lost its record."""
    stack.wait_recovery_point(name, begin_ns, Deadline.after(SECONDS))
    status = stack.machine(name)
    if status.state is not MachineState.PROTECTED or status.resynchronising:
        what = "resynchronising" if status.resynchronising else status.state
        raise LabError(f"{name} is {what}: that was not replication that follows")
