"""The end of protection leaves nothing behind, and data of the ended session is refused."""

from __future__ import annotations

import pytest

from fixtures.stacks import Protected
from lab.measure.peers import call
from lab.stacks.addresses import address_towards
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from lab.waiting import Deadline


@pytest.mark.needs_lone
@pytest.mark.needs_agent
@pytest.mark.requirement("LAB-FENCE", "LAB-REFUSAL")
def test_disable_removes_the_replica_and_fences_the_session(
    stack: Stack, other_role: Protected, topology: Topology
) -> None:
    stream = stack.machine(other_role.name).attributes["stream"]
    assert other_role.replica_data.names(stream), "there is nothing to remove"
    stack.run(other_role.name, Operation.DISABLE, Deadline.after(300.0))
    assert stack.machine(other_role.name).state is MachineState.UNPROTECTED
    assert not other_role.replica_data.names(stream)
    identity = "/etc/recovery/mobility"
    policy = topology.stack.policies[topology.stack.protect[other_role.name].policy]
    address = address_towards(topology, topology.machines[other_role.name].interfaces, other_role.process_server.name)
    answer = call(
        other_role.machine.ssh, address, policy.process_server_port, path=f"/v1/streams/{stream}",
        identity=identity, ca=f"{identity}/ca.pem",
    )  # fmt: skip
    assert answer.tls is not None
    assert answer.http == 403
