"""A host that says it is another system, or a machine that is said to be one, is refused before anything is made.

About two minutes without acceleration: hosts are asked when protection begins. It comes before the machines are
protected, and leaves them as they were.
"""

from __future__ import annotations

import pytest

from fixtures.disguise import disguised
from fixtures.host_images import images
from fixtures.stacks import Protected
from lab.replication.support.facts import parse_os_release
from lab.stacks.errors import OperationRefused
from lab.stacks.jobs import JobFailed
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.stacks.reference.hosts import system_inside
from lab.topology.model import Topology
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_hosts

REFUSAL_SECONDS = 300.0
UNSUPPORTED = {"id": "sles", "version": "11.4"}


@pytest.fixture
def role(stack: Stack, everyone: list[Protected]) -> Protected:
    """A machine that is not protected yet; what else has to be set up is done."""
    stack.set_up()
    found = everyone[-1]
    stack.protect(found.name)
    if stack.machine(found.name).state is not MachineState.UNPROTECTED:
        pytest.fail("this begins with machines that are not protected: run it first on a new lab")
    return found


@pytest.mark.requirement("GEN-H2A-HOST", "H2S-HOSTS", "LAB-REFUSAL")
def test_a_host_of_another_system_is_refused_and_nothing_is_made(
    stack: Stack, role: Protected, evidence: EvidenceRecorder
) -> None:
    before = images(role.host.ssh)
    with disguised(role.host.ssh):
        assert "sles" in role.host.ssh.check("cat", "/etc/os-release"), "the host is not disguised"
        with pytest.raises(JobFailed) as refusal:
            stack.run(role.name, Operation.ENABLE, Deadline.after(REFUSAL_SECONDS))
    error = refusal.value.job.error
    assert error is not None
    evidence.attach("refusal.txt", f"{error.type}: {error.message}\n")
    assert error.type == "unsupported-system"
    assert f"host {role.host.name}" in error.message
    assert "sles 11.4" in error.message, "what was found is not named"
    assert "debian 12" in error.message, "what is supported is not named"
    assert images(role.host.ssh) == before
    assert "stream" not in stack.machine(role.name).attributes
    stack.run(role.name, Operation.DISABLE, Deadline.after(REFUSAL_SECONDS))
    assert stack.machine(role.name).state is MachineState.UNPROTECTED


@pytest.mark.requirement("GEN-H2A-HOST", "LAB-REFUSAL")
def test_a_machine_with_an_unsupported_system_is_refused(
    stack: Stack, topology: Topology, role: Protected, evidence: EvidenceRecorder
) -> None:
    """Its control is every test after this one: with the system that it has, protection begins."""
    stated = system_inside(topology, topology.machines[role.name])
    running = parse_os_release(role.machine.ssh.check("cat", "/etc/os-release"))
    assert stated["system"] == {"id": running["ID"], "version": running["VERSION_ID"]}, "it is not what is said of it"
    stack.protect(role.name, {"host": {"name": role.host.name, "guest": role.name, "system": UNSUPPORTED}})
    try:
        with pytest.raises(OperationRefused) as refusal:
            stack.start(role.name, Operation.ENABLE)
    finally:
        stack.protect(role.name)
    evidence.attach("refusal.txt", f"{refusal.value.reason}: {refusal.value}")
    assert refusal.value.reason == "unsupported-system"
    assert "sles 11.4" in str(refusal.value)
    assert stack.machine(role.name).state is MachineState.UNPROTECTED
