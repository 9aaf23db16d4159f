"""A replica that has drifted is compared by checksums and mended; what is equal is not sent again."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from fixtures.equality import as_evidence, digests, digests_at_rest, point_now, prepare_digests
from fixtures.stacks import REPLICATION_SECONDS, Protected
from lab.stacks.machines import Operation
from lab.stacks.protocol import Stack
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

DAMAGED = (3, 97)
"""Numbers of the MiB of the data disk that are overwritten behind the stack's back."""
MOST_SENT_SHARE = 5
"""At most so many-th of the disks: the chunks that differ, and what the workload writes in the meantime."""
STAGES = "/var/lib/recovery/process-server/statistics.jsonl"


@pytest.mark.needs_agent
@pytest.mark.needs_secondary_site  # to Azure everything is sent, because nobody over there answers (decision 0011)
@pytest.mark.requirement("LAB-RESYNC")
def test_a_drifted_replica_is_mended_and_nothing_else_is_sent(
    stack: Stack, other_role: Protected, evidence: EvidenceRecorder, record_measurement: Callable[..., None]
) -> None:
    disk = other_role.data_disk
    prepare_digests(other_role)
    point_now(stack, other_role)
    for number in DAMAGED:
        other_role.replica_data.damage(disk, number)
    source, replica = digests(other_role, disk)
    assert set(DAMAGED) <= set(source.differing(replica)), "the damage is not seen, so mending it would prove nothing"
    stream = stack.machine(other_role.name).attributes["stream"]
    before = sent(other_role, stream)
    stack.run(other_role.name, Operation.RESYNCHRONISE, Deadline.after(REPLICATION_SECONDS))
    stack.wait_status(
        other_role.name,
        lambda status: not status.resynchronising,
        "end of the resynchronisation",
        Deadline.after(REPLICATION_SECONDS),
    )
    source, replica = digests_at_rest(stack, other_role, disk)
    evidence.attach("digests.txt", as_evidence(source, replica))
    assert not source.differing(replica)
    moved = sent(other_role, stream) - before
    record_measurement("resynchronisation-sent", moved / 1e6, "MB", context=f"{len(DAMAGED)} MiB were damaged")
    assert moved < other_role.bytes / MOST_SENT_SHARE, "much more was sent than differed"
    assert stack.machine(other_role.name).attributes["stream"] == stream, "nothing was copied anew"


def sent(role: Protected, stream: str) -> int:
    """Return how many bytes of a stream the process server has taken in, before compression."""
    log = role.process_server.ssh.check("cat", STAGES)
    stages = [json.loads(line) for line in log.splitlines()]
    return sum(stage["raw_bytes"] for stage in stages if stage["stream"] == stream)
