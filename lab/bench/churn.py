"""Whether delta replication keeps up with steady random writes on all protected machines at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import paramiko

from lab.bench import scribble
from lab.bench.churn_steps import ABANDON_SECONDS, NAME, RATE, Step, next_rate
from lab.bench.equipped import data_disk
from lab.bench.protecting import install, protect
from lab.errors import LabError
from lab.machines.ssh import SshTransport
from lab.provision.board import Board
from lab.provision.lab import Lab
from lab.stacks.adapters import deployed
from lab.stacks.machines import MachineState, MachineStatus
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


Watched = tuple[dict[str, list[float]], str]
"""Ages by machine, and why watching was ended early; empty: it was not."""


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


def churn(lab: Lab, board: Board, seconds: float = SECONDS, short_seconds: float = SHORT_SECONDS) -> list[Step]:
    """Protect all machines, write on all of them, and watch how old their newest points are; slower if it broke."""
    names = list(lab.topology.stack.protect)
    files = {name: f"{data_disk(lab.topology, name).mount}/churn.bin" for name in names}
    steps: list[Step] = []
    with deployed(lab, board) as stack, ExitStack() as left:
        stack.set_up()
        for name in names:
            install(stack, lab, name, board)
            # Later rows fill the disk.
            left.callback(lab.machine(name).ssh.run, "rm", "-f", files[name])
            # As fast as the disk is: written to a protected one it would overflow the change log.
            fill(lab, name, files[name], board)
            protect(stack, lab, name, board)
        while (rate := next_rate(steps, STEPS)) is not None and _calms(stack, lab, names, board):
            step_seconds = seconds if rate == RATE else short_seconds
            watch = partial(_watch, stack, names, step_seconds)
            steps.append(step_of(lab, files, rate, step_seconds, watch))
            board.step(NAME, steps[-1].told)
    if not steps:
        raise LabError(f"{', '.join(names)}: no young recovery points although nothing is written")
    return steps


def fill(lab: Lab, name: str, file: str, board: Board) -> None:
    """Write the whole file of a machine, so that later writes find their places."""
    board.step(f"{name} data", "filling")
    ssh: SshTransport = lab.machine(name).ssh
    ssh.put(Path(scribble.__file__).read_bytes(), TOOL)
    ssh.check("python3", TOOL, "fill", file, str(FILE_BYTES), seconds=FILL_SECONDS)
    board.step(f"{name} data", "ready")


def _calms(stack: Stack, lab: Lab, names: Sequence[str], board: Board) -> bool:
    """Wait until nothing is left of what was written before; return whether that came about."""
    settings = lab.topology.stack
    limits = {
        name: CALM_INTERVALS * settings.policies[settings.protect[name].policy].recovery_point_interval
        for name in names
    }
    begin = time.monotonic()

    def calm() -> bool:
        waited = time.monotonic() - begin
        return all(is_calm(stack.machine(name), limits[name], waited) for name in names)

    board.step(NAME, "waiting until nothing is left to send")
    try:
        return wait_until(calm, Deadline.after(CALM_SECONDS), "young recovery points at all machines", every=1.0)
    except DeadlineExceeded as error:
        board.step(NAME, f"no more steps: {error}")
        return False


def is_calm(status: MachineStatus, limit: float, waited: float) -> bool:
    """Return whether a machine's newest point is young, and of a moment since which ``waited`` seconds have not passed.

    A young point that is older than the wait says nothing of what was written just before it.
    """
    age = status.rpo_seconds
    return status.state is MachineState.PROTECTED and age is not None and age < min(limit, waited)


def step_of(lab: Lab, files: Mapping[str, str], rate: float, seconds: float, watch: Callable[[], Watched]) -> Step:
    """Write to a file of each machine at a rate while ``watch`` looks on, which says when it has seen enough."""
    with ExitStack() as running:
        writers = [running.enter_context(writing(lab, name, file, rate, seconds)) for name, file in files.items()]
        ages, broke = watch()
        ended = [writer.end() for writer in writers]
    slowest = min(written / took for written, took in ended)
    return Step(rate, slowest, ages, broke)


@contextmanager
def writing(lab: Lab, name: str, file: str, rate: float, seconds: float) -> Iterator[_Writer]:
    """Have a machine write to its filled file, at ``rate`` bytes a second, until the block or ``seconds`` end."""
    ssh: SshTransport = lab.machine(name).ssh
    with ssh.stream("python3", TOOL, "write", file, str(rate), str(seconds)) as channel:
        yield _Writer(name, channel)


def _watch(stack: Stack, names: Sequence[str], seconds: float) -> Watched:
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
