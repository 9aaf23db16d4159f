"""A second process server takes machines over while they are replicated: its bytes rise, no recovery point is missing.

Five to eight minutes: two moves (there and back), each with a drain, and four recovery points in between. Afterwards
everything goes over the first process server again, as the later subjects expect.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest

from fixtures.equality import as_evidence, digests_at_rest, point_now, prepare_digests
from fixtures.needs import second_process_server
from fixtures.stacks import Protected
from fixtures.workloads import Workload
from lab.provision.lab import Lab, LabMachine
from lab.stacks.addresses import address_towards
from lab.stacks.machines import MachineState, Operation, RecoveryPoint
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from lab.waiting import Deadline, wait_until
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_second_process_server

MOVE_SECONDS = 600.0
POINT_SECONDS = 300.0
STAGES = "/var/lib/recovery/process-server/statistics.jsonl"


@dataclass(frozen=True)
class Bytes:
    """How much of one stream the two process servers have taken in, before compression."""

    first: int
    second: int


@dataclass
class Moved:
    """A machine on its second process server."""

    role: Protected
    second: LabMachine
    stream: str
    before: Bytes
    points_before: list[RecoveryPoint]

    def bytes(self) -> Bytes:
        """Return what went over both until now."""
        return Bytes(taken(self.role.process_server, self.stream), taken(self.second, self.stream))


def taken(server: LabMachine, stream: str) -> int:
    """Return how many bytes of a stream a process server has taken in."""
    found = server.ssh.run("cat", STAGES)
    stages = [json.loads(line) for line in found.stdout.splitlines()] if found.ok else []
    return sum(stage["raw_bytes"] for stage in stages if stage["stream"] == stream)


def move(stack: Stack, topology: Topology, role: Protected, server: str) -> None:
    """Have the data of a machine go over another process server."""
    address = address_towards(topology, topology.machines[role.name].interfaces, server)
    arguments = {"process_server": {"name": server, "address": address}}
    stack.run(role.name, Operation.MOVE, Deadline.after(MOVE_SECONDS), arguments)


@pytest.fixture(scope="module")
def moved(
    lab: Lab, stack: Stack, topology: Topology, other_role: Protected, workloads: dict[str, Workload]
) -> Iterator[Moved]:
    """A machine with a busy writer that was moved; it is back afterwards."""
    name = second_process_server(topology)
    if name is None:
        raise pytest.UsageError("a test of scaling needs the marker needs_second_process_server")
    second = lab.machine(name)
    workloads[other_role.name].wait_beyond(0)
    point_now(stack, other_role)
    stream = stack.machine(other_role.name).attributes["stream"]
    before = Bytes(taken(other_role.process_server, stream), taken(second, stream))
    points = list(stack.recovery_points(other_role.name))
    move(stack, topology, other_role, name)
    yield Moved(other_role, second, stream, before, points)
    move(stack, topology, other_role, other_role.process_server.name)


@pytest.mark.requirement("V2A-PS-SCALE")
def test_the_bytes_of_a_moved_machine_shift(
    moved: Moved, stack: Stack, evidence: EvidenceRecorder, record_measurement: Callable[..., None]
) -> None:
    assert moved.before.first > 0, "nothing went over the first process server, so this proves nothing"
    point_now(stack, moved.role)
    settled = moved.bytes()
    point_now(stack, moved.role)
    wait_until(
        lambda: moved.bytes().second > settled.second,
        Deadline.after(POINT_SECONDS),
        f"bytes of {moved.role.name} at {moved.second.name}",
    )
    later = moved.bytes()
    evidence.attach("bytes.txt", f"before {moved.before}\nafter the move {settled}\nlater {later}\n")
    record_measurement("bytes-over-second-process-server", (later.second - moved.before.second) / 1e6, "MB")
    assert later.first == settled.first, "the old process server still gets data of this machine"
    assert later.second > settled.second > moved.before.second


@pytest.mark.requirement("V2A-PS-SCALE")
def test_machines_that_did_not_move_go_on_over_the_first(
    moved: Moved, stack: Stack, protected: list[Protected], workloads: dict[str, Workload]
) -> None:
    staying = next(role for role in protected if role.name != moved.role.name)
    stream = stack.machine(staying.name).attributes["stream"]
    before = taken(staying.process_server, stream)
    workloads[staying.name].wait_beyond(0)
    point_now(stack, staying)
    assert taken(staying.process_server, stream) > before
    assert taken(moved.second, stream) == 0


@pytest.mark.requirement("V2A-PS-SCALE", "LAB-POINT-ORDER")
def test_the_series_of_recovery_points_has_no_gap(
    moved: Moved, stack: Stack, topology: Topology, evidence: EvidenceRecorder
) -> None:
    last = int(moved.role.machine.ssh.check("date", "+%s%N"))
    stack.wait_recovery_point(moved.role.name, last, Deadline.after(POINT_SECONDS))
    points = stack.recovery_points(moved.role.name)
    status = stack.machine(moved.role.name)
    evidence.attach("points.txt", "\n".join(f"{point.sequence} {point.begin_ns}" for point in points))
    assert (status.state, status.attributes["stream"]) == (MachineState.PROTECTED, moved.stream)
    assert not status.resynchronising
    around = [point for point in points if point.end_ns >= moved.points_before[-1].begin_ns]
    assert moved.points_before[-1].id == around[0].id, "the last point before the move is gone"
    sequences = [point.sequence or 0 for point in around]
    assert sequences == sorted(set(sequences))
    threshold = topology.stack.policies[topology.stack.protect[moved.role.name].policy].rpo_threshold
    gaps = [(after.begin_ns - before.begin_ns) / 1e9 for before, after in pairwise(around)]
    assert max(gaps) <= threshold, f"{max(gaps):.0f} s without a recovery point"


@pytest.mark.requirement("V2A-PS-SCALE", "V2A-PS-GATEWAY")
def test_nothing_was_lost_on_the_way(moved: Moved, stack: Stack, evidence: EvidenceRecorder) -> None:
    disk = moved.role.data_disk
    prepare_digests(moved.role)
    source, replica = digests_at_rest(stack, moved.role, disk)
    evidence.attach("digests.txt", as_evidence(source, replica))
    assert not source.differing(replica)
