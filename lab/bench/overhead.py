"""Rows ``overhead-random`` and ``overhead-sequential``: fio on a machine without and with protection, A/B/A.

A: before anything of the stack is on the machine. B: protected, while replication follows. A again: after the
protection has ended and the agent was taken off, because writes go through its capture until then. The machine has a
lab of its own, whose image of that machine has fio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from lab.bench.fio import FILE_MIB, JOBS, Round, command, rate_of, rows
from lab.bench.lab_up import LAB
from lab.bench.replication import data_disk, protect
from lab.bench.rows import Row
from lab.errors import BadInput, LabError
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
from lab.topology.images import RecipeImage
from lab.topology.model import Topology
from lab.waiting import Deadline

NAME = "overhead"
RECIPE = IMAGE = "debian-12-fio"
ROUNDS = 6
FIO_SECONDS = 300.0
SECONDS = 900.0


def overhead(topology: Topology, home: Home, board: Board, times: int) -> list[Row]:
    """Make a lab, measure on one of its protected machines, and take it down. Raises LabError, BadInput."""
    name = measured_machine(topology)
    equipped = with_fio(topology, name)
    with _lab(equipped, home, board) as lab, deployed(lab, board) as stack:
        return measure(stack, lab, name, board, ROUNDS * times)


def measured_machine(topology: Topology) -> str:
    """Return the protected machine on which fio runs. Raises BadInput."""
    if not topology.stack.protect:
        raise BadInput(f"{topology.source}: no machine is protected by an agent in it")
    name = list(topology.stack.protect)[-1]
    data_disk(topology, name)
    return name


def with_fio(topology: Topology, name: str) -> Topology:
    """Return a topology in which one machine has the image with fio. Pure."""
    values = {field.alias or key: getattr(topology, key) for key, field in Topology.model_fields.items()}
    machine = topology.machines[name].model_copy(update={"image": IMAGE})
    changed = {
        "images": {**topology.images, IMAGE: RecipeImage(recipe=RECIPE)},
        "machines": {**topology.machines, name: machine},
    }
    return Topology.model_validate({**values, **changed}, context=topology.source)


@contextmanager
def _lab(topology: Topology, home: Home, board: Board) -> Iterator[Lab]:
    tear_down(home, LAB, board)
    try:
        with closing(make_ready(topology, home, LAB, board, fresh=True)) as lab:
            yield lab
    finally:
        tear_down(home, LAB, board)


def measure(stack: Stack, lab: Lab, name: str, board: Board, rounds: int) -> list[Row]:
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
    again = fio.phase("without protection again")
    return rows(before, protected, again)


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
