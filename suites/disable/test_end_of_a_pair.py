"""The end of protection to a peer: the disk is let go, and neither side speaks with the other any more."""

from __future__ import annotations

import pytest

from fixtures.stacks import SSH_PORT, Protected
from lab.measure.peers import call
from lab.measure.ports import connections, open_ports
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_peers


@pytest.mark.requirement("LAB-FENCE")
def test_after_the_end_neither_side_takes_anything(
    stack: Stack, primary_role: Protected, evidence: EvidenceRecorder
) -> None:
    assert primary_role.to_peer is not None
    name, port = primary_role.name, primary_role.to_peer.port
    sides = (primary_role.machine, primary_role.peer)
    before = [each for each in connections(sides[0].ssh) if port in {each.here_port, each.there_port}]
    assert before, "the two are not connected, so there is nothing to end"
    stack.run(name, Operation.DISABLE, Deadline.after(300.0))
    assert stack.machine(name).state is MachineState.UNPROTECTED
    for machine in sides:
        evidence.attach(f"sockets-{machine.name}.txt", machine.ssh.check("ss", "-tan"))
        assert open_ports(machine.ssh) == {SSH_PORT}
    assert not call(sides[0].ssh, primary_role.peer_address, port, plain=True).tcp
