"""Whether delta replication keeps up with steady random writes on all protected machines at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko

from lab.bench import scribble
from lab.bench.churn_steps import ABANDON_SECONDS, NAME, RATE, Step, next_rate, rows
from lab.bench.replication import data_disk, protect
from lab.bench.rows import Row
from lab.errors import LabError
from lab.machines.ssh import SshTransport
from lab.provision.board import Board
from lab.provision.lab import Lab
from lab.stacks.adapters import deployed
from lab.stacks.machines import MachineState
from lab.stacks.protocol import Stack
from lab.waiting import Deadline, DeadlineExceeded, wait_until

TOOL = "/run/lab-bench-scribble.py"
SECONDS, SHORT_SECONDS = 600.0, 300.0
"""Of the step that is the goal, and of those that look for what can be sustained."""
STEPS = 4
FILE_BYTES = 128 << 20
FILL_SECONDS = 600.0
SAMPLE_SECONDS = 2.0
CALM_SECONDS = 300.0
CALM_INTERVALS = 1.5
"""Points that are younger than so many intervals at every machine: nothing waits any more."""
END_SECONDS = 60.0
MIN_SAMPLES = 4


@dataclass(frozen=True)
class _Writer:
    """A scribbler on a machine; it ends when its stdin does."""

    machine: str
    channel: paramiko.Channel

    def end(self) -> tuple[int, float]:
        """Return bytes and seconds. Raises LabError with what it said instead."""
        self.channel.shutdown_write()
        self.channel.settimeout(END_SECONDS)
        said = b"".join(iter(lambda: self.channel.recv(4096), b"")).decode(errors="replace").strip()
        try:
            written, seconds = said.split()
            return int(written), float(seconds)
        except ValueError as error:
            raise LabError(f"{self.machine}: the writer ended with {said[-300:]!r}") from error


def churn(lab: Lab, board: Board, seconds: float = SECONDS, short_seconds: float = SHORT_SECONDS) -> list[Row]:
    """Protect all machines, write on all of them, and watch how old their newest points are; slower if it broke."""
    names = list(lab.topology.stack.protect)
    steps: list[Step] = []
    with deployed(lab, board) as stack:
        stack.set_up()
        for name in names:
            protect(stack, lab, name, board)
            _fill(lab, name, board)
        while (rate := next_rate(steps, STEPS)) is not None and _calms(stack, lab, names, board):
            steps.append(_step(stack, lab, names, rate, seconds if rate == RATE else short_seconds))
            board.step(NAME, steps[-1].told)
    if not steps:
        raise LabError(f"{', '.join(names)}: no young recovery points although nothing is written")
    return rows(steps)


def _fill(lab: Lab, name: str, board: Board) -> None:
    board.step(f"{name} data", "filling")
    ssh: SshTransport = lab.machine(name).ssh
    ssh.put(Path(scribble.__file__).read_bytes(), TOOL)
    ssh.check("python3", TOOL, "fill", _file(lab, name), str(FILE_BYTES), seconds=FILL_SECONDS)
    board.step(f"{name} data", "ready")


def _file(lab: Lab, name: str) -> str:
    return f"{data_disk(lab.topology, name).mount}/churn.bin"


def _calms(stack: Stack, lab: Lab, names: Sequence[str], board: Board) -> bool:
    """Wait until nothing is left of what was written before; return whether that came about."""
    settings = lab.topology.stack
    limits = {
        name: CALM_INTERVALS * settings.policies[settings.protect[name].policy].recovery_point_interval
        for name in names
    }

    def calm() -> bool:
        found = {name: stack.machine(name) for name in names}
        return all(
            status.state is MachineState.PROTECTED
            and status.rpo_seconds is not None
            and status.rpo_seconds < limits[name]
            for name, status in found.items()
        )

    board.step(NAME, "waiting until nothing is left to send")
    try:
        return wait_until(calm, Deadline.after(CALM_SECONDS), "young recovery points at all machines", every=1.0)
    except DeadlineExceeded as error:
        board.step(NAME, f"no more steps: {error}")
        return False


def _step(stack: Stack, lab: Lab, names: Sequence[str], rate: float, seconds: float) -> Step:
    with ExitStack() as running:
        writers = [running.enter_context(_writing(lab, name, rate, seconds)) for name in names]
        ages, broke = _watch(stack, names, seconds)
        ended = [writer.end() for writer in writers]
    slowest = min(written / took for written, took in ended)
    return Step(rate, slowest, ages, broke)


@contextmanager
def _writing(lab: Lab, name: str, rate: float, seconds: float) -> Iterator[_Writer]:
    ssh: SshTransport = lab.machine(name).ssh
    with ssh.stream("python3", TOOL, "write", _file(lab, name), str(rate), str(seconds)) as channel:
        yield _Writer(name, channel)


def _watch(stack: Stack, names: Sequence[str], seconds: float) -> tuple[dict[str, list[float]], str]:
    """Return ages by machine, and why it was ended early; empty: it was not."""
    ages: dict[str, list[float]] = {name: [] for name in names}
    pause, deadline, broke = threading.Event(), Deadline.after(seconds), ""
    while not deadline.expired and not (broke and all(len(own) >= MIN_SAMPLES for own in ages.values())):
        for name in names:
            status = stack.machine(name)
            if status.rpo_seconds is not None:
                ages[name].append(status.rpo_seconds)
            broke = broke or _breaks(name, status.state, status.rpo_seconds)
        pause.wait(deadline.clamp(SAMPLE_SECONDS))
    return ages, broke


def _breaks(name: str, state: MachineState, age: float | None) -> str:
    if state is not MachineState.PROTECTED:
        return f"{name} is {state}"
    if age is not None and age > ABANDON_SECONDS:
        return f"the newest point of {name} was {age:.0f} s old"
    return ""
