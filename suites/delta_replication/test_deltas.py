"""Changes follow, at the policy's pace, through the process server and nowhere else, and survive its absence."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from fixtures.equality import as_evidence, digests_at_rest, prepare_digests
from fixtures.outages import Outages
from fixtures.services import stopped
from fixtures.stacks import Protected
from fixtures.workloads import Workload
from lab.stacks.protocol import Stack
from lab.waiting import Deadline, wait_until
from reports.evidence import EvidenceRecorder

SERVICE = "recovery-process-server"
OUTAGE_SECONDS = 60
CATCH_UP_SECONDS = 300.0
SPOOL = "/var/lib/recovery/spool"


@pytest.mark.needs_points
@pytest.mark.requirement("V2A-POLICY-APPLIES", "LAB-POINT-ORDER", "H2S-POLICY", "H2A-POLICY")
def test_recovery_points_come_at_the_interval(
    stack: Stack, primary_role: Protected, workloads: dict[str, Workload]
) -> None:
    workloads[primary_role.name].wait_beyond(0)
    interval = primary_role.policy.recovery_point_interval

    def at_the_pace() -> list[float]:
        """Return the gaps that are about an interval; points that tests asked for lie in between."""
        points = stack.recovery_points(primary_role.name)
        gaps = [(after.begin_ns - before.begin_ns) / 1e9 for before, after in pairwise(points)]
        return [gap for gap in gaps if interval * 0.5 <= gap <= interval * 3]

    wait_until(
        at_the_pace, Deadline.after(interval * 4 + 60), f"two recovery points at the policy's pace of {interval} s"
    )
    points = stack.recovery_points(primary_role.name)
    begins, sequences = ([getattr(point, key) for point in points] for key in ("begin_ns", "sequence"))
    assert begins == sorted(begins)
    assert sequences == sorted(set(sequences)), "every point has a number of its own, in order"


@pytest.mark.requirement("V2S-DELTA", "V2S-UA-LINK", "H2S-DELTA", "H2A-DELTA")
def test_a_quiet_data_disk_is_equal_to_its_replica(
    stack: Stack, primary_role: Protected, workloads: dict[str, Workload], evidence: EvidenceRecorder
) -> None:
    workloads[primary_role.name].wait_beyond(0)
    disk = primary_role.data_disk
    prepare_digests(primary_role)
    source, replica = digests_at_rest(stack, primary_role, disk)
    evidence.attach("digests.txt", as_evidence(source, replica))
    assert not source.differing(replica)


@pytest.mark.needs_agent
@pytest.mark.requirement("V2A-PS-CACHE", "V2A-HRL", "V2S-PS-OPT", "LAB-RECOVERY")
def test_an_absent_process_server_costs_no_change(
    stack: Stack, primary_role: Protected, workloads: dict[str, Workload], outages: Outages
) -> None:
    workload, ssh = workloads[primary_role.name], primary_role.process_server.ssh
    stream = stack.machine(primary_role.name).attributes["stream"]
    began = workload.wait_beyond(0)
    with outages.during("the process server stopped"), stopped(ssh, SERVICE):
        wait_until(
            lambda: waiting_changes(primary_role, stream),
            Deadline.after(CATCH_UP_SECONDS),
            "changes in .hrl files while nobody takes them",
        )
        wait_until(
            lambda: workload.wait_beyond(0).acknowledged_ns - began.acknowledged_ns > OUTAGE_SECONDS * 1e9,
            Deadline.after(CATCH_UP_SECONDS),
            f"{OUTAGE_SECONDS} s of writes without a process server",
        )
    last = workload.wait_beyond(0)
    stack.wait_recovery_point(primary_role.name, last.acknowledged_ns, Deadline.after(CATCH_UP_SECONDS))
    status = stack.machine(primary_role.name)
    assert status.attributes["stream"] == stream, "nothing had to be copied again"
    assert not status.resynchronising
    kinds = {event.kind for event in stack.events(0) if event.stream == stream}
    assert "resynchronisation-required" not in kinds


@pytest.mark.needs_agent
@pytest.mark.requirement("V2A-PS-GATEWAY", "V2S-MT-RECV", "V2A-PS-ORDER", "V2S-PS-XFER")
def test_data_passes_the_stages_of_the_process_server_in_order(
    stack: Stack, primary_role: Protected, evidence: EvidenceRecorder
) -> None:
    stream = stack.machine(primary_role.name).attributes["stream"]
    log = primary_role.process_server.ssh.check("cat", "/var/lib/recovery/process-server/statistics.jsonl")
    evidence.attach("stages.jsonl", log)
    stages = [json.loads(line) for line in log.splitlines()]
    mine = [stage for stage in stages if stage["stream"] == stream]
    assert mine, "the process server has forwarded nothing of this stream"
    for stage in mine:
        assert stage["received_ns"] <= stage["optimised_ns"] <= stage["sent_ns"]
    assert sum(stage["wire_bytes"] for stage in mine) < sum(stage["raw_bytes"] for stage in mine)


def waiting_changes(role: Protected, stream: str) -> list[str]:
    """Return the .hrl files of a stream, one for each disk and cut, that wait to be sent."""
    found = role.machine.ssh.run("find", f"{SPOOL}/{stream}", "-name", "*.hrl", "-size", "+0")
    return sorted(found.stdout.split()) if found.ok else []
