"""What a cut of a whole group costs its members: for how long they hold their writes, 16 of them against 2.

The members are simulated: on loopback, in one process, over the real channels; their disks take ``SUSPEND_SECONDS``.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from time import time_ns

from cryptography.hazmat.primitives.asymmetric import ec

from lab.bench.by_hand import free_port
from lab.bench.rows import Row, close_to_limit
from lab.replication.common.tls import client_context, server_context
from lab.replication.configuration_server.ca import MOBILITY, Authority, Holder, key_pem, new_authority
from lab.replication.mobility.capture import Cut
from lab.replication.mobility.group.coordinator import Coordinator
from lab.replication.mobility.group.member import GroupServer, Meeting
from lab.replication.mobility.group.order import GroupOrder
from lab.replication.mobility.group.order import Member as GroupMember

NAME = "group-cut-members"
FEW, MANY = 2, 16
ROUNDS = 60
GOAL = 2.0
SUSPEND_SECONDS = 0.01
"""Half of what two real machines hold in all (row ``group-holds``); the rest of it is waiting for each other."""
ROUND_SECONDS = 30.0
PERCENTILE = 98
"""Index of the 99th percentile among the 99 cut points of ``quantiles(n=100)``."""


@dataclass
class SimulatedCutter:
    """Stand-in for a replicator: its disks are held after a while, and released at once."""

    holds_ns: list[int] = field(default_factory=list)
    done: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def shared_cut(self, meeting: Meeting, *, application: bool) -> None:
        """Take part in a round."""
        del application
        meeting.ready()
        begin = time_ns()
        # Nothing ends this early: it stands for disks that finish what is under way.
        threading.Event().wait(SUSPEND_SECONDS)
        meeting.held()
        self.holds_ns.append(time_ns() - begin)
        meeting.agree(Cut(begin, begin, ""))
        self.done.release()


def group_cut(turns: int) -> Row:
    """Compare the 99th percentile of the holds of 16 members with that of 2. Raises LabError."""
    pairs = [(hold_ms(MANY), hold_ms(FEW)) for _ in range(turns)]
    return close_to_limit(NAME, "ms", pairs, GOAL)


def hold_ms(members: int) -> float:
    """Return for how long members hold their writes in a round, in ms: the 99th percentile over all of them."""
    with tempfile.TemporaryDirectory() as folder, _group(Path(folder), members) as (coordinator, cutters):
        for _ in range(ROUNDS):
            if coordinator.round().shared is None:
                raise RuntimeError("a round on loopback gave no common instant")
            for cutter in cutters:
                cutter.done.acquire(timeout=ROUND_SECONDS)
    return quantiles([hold for cutter in cutters for hold in cutter.holds_ns], n=100)[PERCENTILE] / 1e6


@contextmanager
def _group(folder: Path, size: int) -> Iterator[tuple[Coordinator, list[SimulatedCutter]]]:
    members = tuple(GroupMember(f"member{number}", f"127.0.0.{number}") for number in range(1, size + 1))
    order = GroupOrder("bench", members[0].name, members, free_port())
    authority = new_authority("bench")
    cutters = {member.name: SimulatedCutter() for member in members}
    with ExitStack() as stack:
        for member in members:
            identity = _identity(authority, folder, member)
            if member.name != order.coordinator:
                context = server_context(identity, require_client=True)
                server = GroupServer(order, member.name, context, cutters[member.name])
                stack.callback(server.close)
                server.start()
        context = client_context(folder / order.coordinator)
        coordinator = Coordinator(order, order.coordinator, context, cutters[order.coordinator], lambda _: None)
        stack.callback(coordinator.close)
        yield coordinator, list(cutters.values())


def _identity(authority: Authority, folder: Path, member: GroupMember) -> Path:
    """Write what the installer of an agent would, with the stack's own authority."""
    directory = folder / member.name
    directory.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    issued = authority.issue(key.public_key(), Holder(MOBILITY, member.name, (member.address,)))
    (directory / "ca.pem").write_bytes(authority.pem)
    (directory / "machine.pem").write_bytes(issued.pem)
    (directory / "machine.key").touch(mode=0o600)
    (directory / "machine.key").write_bytes(key_pem(key))
    return directory
