"""How the rows have a machine protected by the stack, wait for it, and end it again."""

from __future__ import annotations

import time

from lab.provision.board import Board
from lab.provision.lab import Lab
from lab.stacks.errors import StackError
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.waiting import Deadline, DeadlineExceeded

COMPLETE = "initial-replication-complete"
INSTALL_SECONDS = 900.0
REPLICATION_SECONDS = 1800.0
POLL_SECONDS = 15.0


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


def end_protection(stack: Stack, name: str) -> None:
    """End the protection of a machine, if it has one. Raises LabError."""
    if stack.machine(name).state is not MachineState.UNPROTECTED:
        stack.run(name, Operation.DISABLE, Deadline.after(REPLICATION_SECONDS))
        stack.wait_state(name, MachineState.UNPROTECTED, deadline=Deadline.after(REPLICATION_SECONDS))


def replicate(stack: Stack, name: str) -> tuple[float, float]:
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
