"""Row ``group-holds``: for how long the rounds of a replication group hold the writes of machines that write.

Two protected machines of the topology share recovery points, and each is written to at a steady, modest rate. Every
hold of every member counts, as the stack itself tells of it; the row's number is their 99th percentile. The suites for
groups judge by the oracle whether such a point is an instant; here nothing but the time is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median

from lab.bench.churn import fill, writing
from lab.bench.equipped import changed, data_disk
from lab.bench.protecting import newest_event, protect
from lab.bench.rows import Row, within
from lab.errors import BadInput, LabError
from lab.measure.percentiles import p99
from lab.provision.board import Board
from lab.provision.lab import Lab
from lab.stacks.adapters import deployed
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from lab.topology.stack import Group
from lab.waiting import Deadline

NAME = "group-holds"
GROUP = "bench"
MEMBERS = 2
GOAL_MS = 50.0
ROUNDS = 40
"""Of each turn."""
RATE = 250e3
"""Bytes a second on each member."""
ROUND_SECONDS = 60.0
"""More than any interval between rounds here."""
POLL_SECONDS = 15.0


@dataclass(frozen=True)
class Hold:
    """One member's part in one round; ``shared``: the round made a shared point."""

    milliseconds: float
    shared: bool


def group_holds(lab: Lab, board: Board, turns: int) -> Row:
    """Measure on a lab of a topology ``with_group``. Raises LabError, BadInput."""
    with deployed(lab, board) as stack:
        return row_of(measure(stack, lab, board, ROUNDS * turns))


def with_group(topology: Topology) -> Topology:
    """Return the topology with two of its protected machines as one consistent group, and no other. Raises BadInput."""
    members = tuple(topology.stack.protect)[:MEMBERS]
    if len(members) < MEMBERS:
        raise BadInput(f"{topology.source}: {MEMBERS} machines protected by an agent are needed")
    groups = {GROUP: Group(members=members, multi_vm_consistency=True)}
    stack = topology.stack.model_copy(update={"groups": groups})
    return changed(topology, stack=stack)


def measure(stack: Stack, lab: Lab, board: Board, rounds: int) -> list[Hold]:
    """Return the holds of so many rounds. Raises LabError."""
    stack.set_up()
    names = lab.topology.stack.groups[GROUP].members
    files = {name: f"{data_disk(lab.topology, name).mount}/holds.bin" for name in names}
    for name in names:
        protect(stack, lab, name, board)
    for name in names:
        fill(lab, name, files[name], board)
    deadline = Deadline.after(rounds * ROUND_SECONDS)
    with ExitStack() as running:
        for name in names:
            running.enter_context(writing(lab, name, files[name], RATE, deadline.seconds))
        board.step(NAME, f"waiting for {rounds} rounds")
        return holds_of(stack, rounds, deadline)


def holds_of(stack: Stack, rounds: int, deadline: Deadline) -> list[Hold]:
    """Return the holds of the next rounds. Raises LabError when they do not come."""
    last, found, seen = newest_event(stack), list[Hold](), 0
    while seen < rounds:
        if deadline.expired:
            raise LabError(f"{seen} rounds of {rounds} within {deadline.seconds:.0f} s")
        for event in stack.events(last, wait=deadline.clamp(POLL_SECONDS)):
            last = event.id
            if event.kind == "group-round":
                seen += 1
                parts = event.data["parts"].values()
                found += [Hold(part["stall_ns"] / 1e6, bool(event.data.get("shared"))) for part in parts]
    return found


def row_of(holds: Sequence[Hold]) -> Row:
    """Return the 99th percentile of all holds in ms, against the goal. Raises ValueError with fewer than two."""
    times = [hold.milliseconds for hold in holds]
    missed = sum(not hold.shared for hold in holds)
    row = within(NAME, "ms", p99(times), GOAL_MS)
    note = f"99th percentile of {len(times)} holds; median {median(times):.3g}, longest {max(times):.3g} ms"
    return replace(row, n=len(times), note=f"{note}; {missed} in rounds without a shared point" if missed else note)
