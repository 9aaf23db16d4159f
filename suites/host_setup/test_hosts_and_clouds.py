"""Hosts are managed, providers are registered over TLS, and nothing is ever put into a machine that is protected.

About one minute without acceleration. It comes before the machines are protected: afterwards settings are kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fixtures.stacks import SSH_PORT, Protected
from fixtures.strangers import IDENTITY, make_stranger
from lab.measure.peers import call
from lab.measure.ports import open_ports
from lab.provision.lab import Lab
from lab.stacks.addresses import address_towards
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.topology.machines import Role
from lab.topology.model import Topology
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_hosts

MANAGEMENT = 443
PROVIDER = "provider"
ANOTHER = "another"
UNIT_FOLDERS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/run/systemd")


def refused(stack: Stack, machine: str, operation: Operation) -> OperationRefused:
    """Ask for an operation that has to be refused, and show that the machine is as before."""
    before = stack.machine(machine)
    with pytest.raises(OperationRefused) as refusal:
        stack.start(machine, operation)
    after = stack.machine(machine)
    assert (after.state, after.attributes) == (before.state, before.attributes)
    return refusal.value


def refused_with(stack: Stack, role: Protected, otherwise: Mapping[str, Any]) -> OperationRefused:
    """Ask for protection with settings that have to be refused; those of the topology are there again afterwards."""
    stack.protect(role.name, otherwise)
    try:
        return refused(stack, role.name, Operation.ENABLE)
    finally:
        stack.protect(role.name)


def providers(topology: Topology) -> set[str]:
    """Return the machines that need a provider: hosts, and the VMM servers that manage them."""
    roles = (Role.HYPERVISOR_HOST, Role.VMM_SERVER)
    return {name for role in roles for name in topology.machines_with(role)}


@pytest.mark.requirement("H2S-AGENT", "H2S-PROV-VMM", "H2S-HOSTS", "H2A-INST-BOTH", "H2A-VMM-INST")
def test_every_host_and_vmm_server_has_a_provider(
    stack: Stack, topology: Topology, lab: Lab, evidence: EvidenceRecorder
) -> None:
    registered = {component.id for component in stack.components()}
    evidence.attach("components.txt", "\n".join(sorted(registered)))
    for name in providers(topology):
        assert f"{PROVIDER}-{name}" in registered
        assert lab.machine(name).host.service(f"recovery-{PROVIDER}").is_running
    for cloud in topology.stack.clouds.values():
        assert topology.machines[cloud.vmm].roles, "a cloud has a VMM server"
        assert {topology.machines[host].site for host in cloud.hosts} == {topology.machines[cloud.vmm].site}


@pytest.mark.requirement("H2S-PROV-TLS", "H2S-VMM-NET", "H2S-AUTH-CERT", "LAB-MUTUAL-TLS")
def test_providers_reach_the_service_over_the_internet_with_tls(topology: Topology, stack: Stack, lab: Lab) -> None:
    assert stack.components()
    (server,) = topology.machines_with(Role.CONFIGURATION_SERVER)
    identity = IDENTITY.format(kind=PROVIDER)
    for name in providers(topology):
        ssh = lab.machine(name).ssh
        address = address_towards(topology, topology.machines[name].interfaces, server)
        network = next(card.network for card in topology.machines[server].interfaces if str(card.address) == address)
        assert topology.networks[network].kind == "internet"
        path = "/v1/commands?wait=0"
        answer = call(ssh, address, MANAGEMENT, path=path, identity=identity, ca=f"{identity}/ca.pem")
        assert answer.tls == "TLSv1.3"
        assert answer.http in {200, 204}
        stranger = call(ssh, address, MANAGEMENT, path=path, identity=make_stranger(ssh), ca=f"{identity}/ca.pem")
        assert stranger.tcp, "nothing was reached, so this proves nothing"
        assert stranger.refused, f"a stranger got {stranger.http}"


@pytest.mark.requirement("GEN-H2S-VMM", "H2S-CLOUD", "H2A-SITE", "H2A-VMM-SRC", "LAB-REFUSAL")
def test_a_machine_of_a_host_that_nobody_manages_is_refused(
    stack: Stack, topology: Topology, everyone: list[Protected], evidence: EvidenceRecorder
) -> None:
    role = everyone[-1]
    stack.protect(role.name)
    require_unprotected(stack, role)
    # A VMM server has a provider, and is in no cloud; without one there is only a host that nobody has heard of.
    servers = list(topology.machines_with(Role.VMM_SERVER))
    unmanaged = servers[0] if servers else "nobodys-host"
    refusal = refused_with(stack, role, {"host": {"name": unmanaged, "guest": role.name}})
    evidence.attach("refusal.txt", f"{refusal.reason}: {refusal}")
    assert refusal.reason == ("not-set-up" if servers else "not-ready")
    assert unmanaged in str(refusal)


@pytest.mark.needs_secondary_site
@pytest.mark.requirement("H2S-VAULT", "LAB-REFUSAL")
def test_the_service_needs_the_settings_of_the_secondary_site_too(
    stack: Stack, topology: Topology, everyone: list[Protected], evidence: EvidenceRecorder
) -> None:
    """Its control is every test after this one: with the settings that it has of both sites protection begins."""
    role = everyone[-1]
    stack.protect(role.name)
    require_unprotected(stack, role)
    site = topology.machines[role.recovery_host.name].site
    # It has a provider, so nothing but the settings is missing: it is in no cloud of its site.
    outside = next(name for name, each in topology.machines_with(Role.VMM_SERVER).items() if each.site == site)
    refusal = refused_with(stack, role, {"recovery_host": {"name": outside}})
    evidence.attach("refusal.txt", f"{refusal.reason}: {refusal}")
    assert refusal.reason == "not-set-up"
    assert outside in str(refusal)


@pytest.mark.requirement("H2S-POLICY", "H2A-POLICY", "LAB-REFUSAL")
def test_a_machine_has_the_policy_of_its_cloud_and_no_other(
    stack: Stack, topology: Topology, everyone: list[Protected]
) -> None:
    role = everyone[-1]
    stack.protect(role.name)
    require_unprotected(stack, role)
    (known, *_) = topology.stack.policies
    stack.put_policy(ANOTHER, stack.policy(known))
    refusal = refused_with(stack, role, {"policy": ANOTHER})
    assert refusal.reason == "not-set-up"
    assert ANOTHER in str(refusal)


@pytest.mark.requirement("H2A-NOAGENT", "LAB-REFUSAL")
def test_nothing_is_ever_installed_in_a_machine(stack: Stack, protected: list[Protected]) -> None:
    components = {component.id for component in stack.components()}
    for role in protected:
        assert refused(stack, role.name, Operation.PUSH_INSTALL).reason == "not-supported"
        assert not {each for each in components if each.endswith(f"-{role.name}")}
        ssh = role.machine.ssh
        for path in ("/opt/recovery", "/etc/recovery", "/var/lib/recovery"):
            assert not ssh.run("test", "-e", path).ok, f"{role.name} has {path}"
        # Looked for as files: systemctl reads every unit for its list, which takes a machine inside of another minutes.
        units = [Path(line).name for line in ssh.check("find", *UNIT_FOLDERS, "-name", "*.service").splitlines()]
        assert "ssh.service" in units, "the units are elsewhere, so this proves nothing"
        assert not [unit for unit in units if unit.startswith("recovery-")]
        assert open_ports(ssh) == {SSH_PORT}


@pytest.mark.needs_secondary_site
@pytest.mark.requirement("H2S-VMM-TWO")
def test_each_site_has_its_own_vmm_server(topology: Topology) -> None:
    servers = topology.machines_with(Role.VMM_SERVER)
    assert len(servers) > 1, "one VMM server can stand at one site only"
    for one, other in itertools.combinations(servers.values(), 2):
        assert one.site != other.site


def require_unprotected(stack: Stack, role: Protected) -> None:
    """Fail on a lab whose machines are protected already; what else has to be set up is done."""
    stack.set_up()
    if stack.machine(role.name).state is not MachineState.UNPROTECTED:
        pytest.fail("this begins with machines that are not protected: run it first on a new lab")
