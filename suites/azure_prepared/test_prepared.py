"""Azure is prepared before anything is deployed: without its storage there is no vault, without a network no replica.

About two minutes. It is for new labs: on a lab whose vault is set up there is nothing left to be refused.
"""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.stacks import Protected
from lab.provision.azure import AZURITE
from lab.provision.lab import Lab
from lab.provision.processes import killed
from lab.stacks.errors import StackError
from lab.stacks.jobs import JobFailed
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from lab.waiting import Deadline, wait_until
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_hosts, pytest.mark.needs_azure]

JOB_SECONDS = 300.0
STORAGE_SECONDS = 120.0
NOWHERE = "nowhere"


@pytest.mark.needs_storage_of_ours
@pytest.mark.requirement("H2A-PREP", "H2A-VAULT")
def test_without_its_storage_account_there_is_no_vault(stack: Stack, lab: Lab, evidence: EvidenceRecorder) -> None:
    if stack.steps_done():
        pytest.fail("this begins with a vault that is not set up: run it first on a new lab")
    vault = stack.setup_steps[0]
    with killed(lab.folder, AZURITE):
        with pytest.raises(StackError) as refusal:
            stack.do_step(vault)
        done = stack.steps_done()
    evidence.attach("refusal.txt", str(refusal.value))

    def set_up() -> bool:
        """The control: what was missing is the storage, which takes a moment to start."""
        try:
            stack.set_up()
        except StackError:
            return False
        return True

    wait_until(set_up, Deadline.after(STORAGE_SECONDS), "the vault with its storage", every=1.0)
    assert vault.name in stack.steps_done()[vault.kind]
    assert not done
    assert "storage" in str(refusal.value), "what is missing is not named"


@pytest.mark.requirement("H2A-PREP", "LAB-REFUSAL")
def test_a_replica_on_a_network_that_nobody_has_set_up_is_refused(
    stack: Stack, topology: Topology, everyone: list[Protected], evidence: EvidenceRecorder
) -> None:
    """Its control is every test after this one: on the networks of the topology replicas are accepted."""
    stack.set_up()
    name = everyone[-1].name
    stack.protect(name)
    if stack.machine(name).state is not MachineState.UNPROTECTED:
        pytest.fail("this begins with machines that are not protected: run it first on a new lab")
    stack.protect(name, {"replica_nics": [card_on(NOWHERE, topology, name)]})
    try:
        with pytest.raises(JobFailed) as refusal:
            stack.run(name, Operation.ENABLE, Deadline.after(JOB_SECONDS))
        stack.run(name, Operation.DISABLE, Deadline.after(JOB_SECONDS))
    finally:
        stack.protect(name)
    error = refusal.value.job.error
    assert error is not None
    evidence.attach("refusal.txt", f"{error.type}: {error.message}\n")
    assert f"no network {NOWHERE}" in error.message
    assert stack.machine(name).state is MachineState.UNPROTECTED


def card_on(network: str, topology: Topology, machine: str) -> dict[str, Any]:
    """Return the card of a machine's replica, on another network."""
    replica = topology.machines[machine].replica
    assert replica is not None
    return {"network": network, "mac": "52:54:00:00:00:01", "address": str(replica.interfaces[0].address), "prefix": 24}
