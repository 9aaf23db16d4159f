"""The end of a replication from a host: nothing of it stays on either host, and its session is refused."""

from __future__ import annotations

import pytest

from fixtures.host_images import images
from fixtures.host_ways import call_recovery_host, known_caller
from fixtures.stacks import Protected
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_hosts, pytest.mark.needs_secondary_site]


@pytest.mark.requirement("LAB-FENCE", "LAB-REFUSAL")
def test_the_end_removes_replica_and_logs_and_fences_the_session(
    stack: Stack, other_role: Protected, evidence: EvidenceRecorder
) -> None:
    role, stream = other_role, stack.machine(other_role.name).attributes["stream"]
    assert role.replica_data.names(stream), "there is nothing to remove"
    assert call_recovery_host(role, stream, **known_caller()).http == 200, "nothing is taken before the end either"
    stack.run(role.name, Operation.DISABLE, Deadline.after(300.0))
    assert stack.machine(role.name).state is MachineState.UNPROTECTED
    left = {host.name: images(host.ssh) for host in (role.host, role.recovery_host)}
    evidence.attach("images.txt", "\n".join(f"{name}: {' '.join(found)}" for name, found in left.items()))
    assert not role.replica_data.names(stream)
    assert not [name for found in left.values() for name in found if stream in name]
    answer = call_recovery_host(role, stream, **known_caller())
    assert answer.tls is not None
    assert answer.http == 403
