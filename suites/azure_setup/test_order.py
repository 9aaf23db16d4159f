"""Replication to Azure is set up in the order of the specification: every step that is too early is refused.

About three minutes without acceleration, most of it one installation of the mobility service by hand. It comes first of
all subjects: on a lab whose vault is set up already there is nothing left to be refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from fixtures.stacks import INSTALL_SECONDS, Protected
from lab.provision.lab import Lab
from lab.stacks.deployment import SetupStep
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.stacks.reference.deploy import PUSH_FOLDER
from lab.stacks.reference.operate import push_install
from lab.waiting import Deadline, wait_until
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_azure

TOO_EARLY = "step-too-early"
WORK = "/root/recovery-by-hand"
SPOOL = "/var/lib/recovery/spool"


def later(steps: Sequence[SetupStep], position: int) -> list[SetupStep]:
    """Return the steps of a later kind than the one that is to be done next."""
    kinds = [step.kind for step in steps]
    return [step for step in steps[position:] if kinds.index(step.kind) > kinds.index(steps[position].kind)]


def refused(stack: Stack, machine: str, operation: Operation) -> OperationRefused:
    """Ask for an operation that has to be refused, and show that the machine is as before."""
    before = stack.machine(machine)
    with pytest.raises(OperationRefused) as refusal:
        stack.start(machine, operation)
    after = stack.machine(machine)
    assert (after.state, after.attributes) == (before.state, before.attributes)
    return refusal.value


@pytest.mark.requirement("V2A-SETUP-SEQ", "LAB-REFUSAL")
def test_every_step_that_is_too_early_is_refused_and_changes_nothing(
    stack: Stack, everyone: list[Protected], evidence: EvidenceRecorder
) -> None:
    if stack.steps_done():
        pytest.fail("this begins with a vault that is not set up: run it first on a new lab")
    told, name = [], everyone[-1].name
    stack.protect(name)
    for position, step in enumerate(stack.setup_steps):
        for early in later(stack.setup_steps, position):
            done = stack.steps_done()
            with pytest.raises(OperationRefused) as refusal:
                stack.do_step(early)
            told.append(f"{early.kind} before {step.kind}: {refusal.value}")
            assert refusal.value.reason == TOO_EARLY
            assert step.kind in str(refusal.value), "what has to come first is not named"
            assert stack.steps_done() == done
        enable = refused(stack, name, Operation.ENABLE)
        told.append(f"enable before {step.kind}: {enable}")
        assert enable.reason == TOO_EARLY
        stack.do_step(step)
        assert step.name in stack.steps_done()[step.kind]
    without_mobility = refused(stack, name, Operation.ENABLE)
    told.append(f"enable before mobility: {without_mobility}")
    assert without_mobility.reason == TOO_EARLY
    assert "mobility" in str(without_mobility)
    told.append(f"test failover before enable: {refused(stack, name, Operation.TEST_FAILOVER)}")
    evidence.attach("refusals.txt", "\n".join(told))


@pytest.mark.requirement("V2A-MOB-MANUAL", "V2A-MOB-EACH")
def test_the_mobility_service_is_installed_by_hand(stack: Stack, lab: Lab, everyone: list[Protected]) -> None:
    role = everyone[-1]
    component = f"mobility-{role.name}"
    if component in {each.id for each in stack.components()}:
        pytest.fail(f"{role.name} has the mobility service already: run this first on a new lab")
    install_by_hand(lab, role)
    role.machine.ssh.run("systemctl", "reboot")
    role.machine.ssh.close()
    wait_until(
        lambda: component in {each.id for each in stack.components()},
        Deadline.after(INSTALL_SECONDS),
        f"registration of {component}",
        every=2,
    )
    role.machine.wait_ready(Deadline.after(INSTALL_SECONDS))
    assert role.machine.host.service("recovery-mobility").is_running


def install_by_hand(lab: Lab, role: Protected) -> None:
    """Do what an administrator does with the package, a configuration file, the passphrase and the authority."""
    order, ssh = push_install(lab.topology, role.name), role.machine.ssh
    config = {
        "kind": "mobility",
        "name": role.name,
        "configuration_server": order["configuration_server"],
        "identity_dir": "/etc/recovery/mobility",
        "state_dir": f"{SPOOL}/agent",
        "addresses": [order["address"]],
        "spool_dir": SPOOL,
        **order["settings"],
    }
    ssh.check("install", "-d", "-m", "700", WORK)
    for name in ("package.tar.gz", "passphrase", "ca.pem"):
        ssh.put(role.process_server.ssh.get(f"{PUSH_FOLDER}/{name}"), f"{WORK}/{name}", mode=0o600)
    ssh.put(json.dumps(config).encode(), f"{WORK}/config.json", mode=0o600)
    ssh.check("tar", "-xzf", f"{WORK}/package.tar.gz", "-C", WORK)
    ssh.check(
        "env", f"PYTHONPATH={WORK}", "python3", "-m", "lab.replication.install", "--kind", "mobility",
        "--config", f"{WORK}/config.json", "--package", f"{WORK}/package.tar.gz",
        "--passphrase-file", f"{WORK}/passphrase", "--ca", f"{WORK}/ca.pem", seconds=INSTALL_SECONDS,
    )  # fmt: skip
    ssh.check("rm", "-rf", WORK)


@pytest.mark.requirement("V2A-VAULT-ADD", "LAB-REFUSAL")
def test_a_machine_of_servers_that_the_vault_does_not_know_is_refused(stack: Stack, everyone: list[Protected]) -> None:
    (servers,) = (step for step in stack.setup_steps if step.kind == "servers")
    assert servers.name in stack.steps_done()["servers"]
    role = everyone[-1]
    assert stack.machine(role.name).state is MachineState.UNPROTECTED
    stack.protect(role.name, {"azure": {"server": "somewhere-else", "source": servers.document["kind"]}})
    try:
        refusal = refused(stack, role.name, Operation.ENABLE)
    finally:
        stack.protect(role.name)
    assert "somewhere-else was not added to the vault" in str(refusal)
    assert servers.name in str(refusal), "what was added is not named"
