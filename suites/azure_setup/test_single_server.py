"""One management server has all three roles, and may be a physical machine. A few seconds; it changes nothing."""

from __future__ import annotations

import pytest

from lab.hypervisors.esxi import EsxiHypervisor
from lab.hypervisors.routed import driver_of_kind
from lab.provision.lab import Lab, LabMachine
from lab.stacks.protocol import Stack
from lab.topology.hosts import EsxiHost, Host
from lab.topology.machines import Role
from lab.topology.model import Topology

pytestmark = pytest.mark.needs_azure

ROLES = (Role.CONFIGURATION_SERVER, Role.PROCESS_SERVER, Role.MASTER_TARGET)


@pytest.mark.requirement("V2A-CS-ONE", "V2A-PS-DEFAULT", "V2A-MT-DEFAULT", "P2A-SAME")
def test_one_server_runs_all_three_roles(stack: Stack, lab: Lab, servers: dict[Role, list[LabMachine]]) -> None:
    (server,) = servers[Role.CONFIGURATION_SERVER]
    registered = {component.id for component in stack.components()}
    for role in ROLES:
        assert server.name in {machine.name for machine in servers[role]}, f"{role} is not on {server.name}"
        service = lab.machine(server.name).host.service(f"recovery-{role.value}")
        assert service.is_running, role
        assert service.is_enabled, role
    assert f"process-server-{server.name}" in registered
    assert f"master-target-{server.name}" in registered


@pytest.mark.needs_physical
@pytest.mark.requirement("P2A-CS-PHYS")
def test_the_management_server_needs_no_vmware(topology: Topology, servers: dict[Role, list[LabMachine]]) -> None:
    """What it runs on stands in for a physical server; a VMware host is there for the way back only, or not at all."""
    (server,) = servers[Role.CONFIGURATION_SERVER]
    physical = {name for each in topology.stand_ins if "physical" in each.stands_in_for for name in each.machines}
    assert server.name in physical
    assert not isinstance(host_of(topology, server.name), EsxiHost)


@pytest.mark.needs_esxi
@pytest.mark.requirement("V2A-CS-VMWARE")
def test_the_management_server_is_a_vmware_machine(
    stack: Stack, lab: Lab, topology: Topology, servers: dict[Role, list[LabMachine]]
) -> None:
    """Asked of the host itself, and found by the stack in its own inventory."""
    (server,) = servers[Role.CONFIGURATION_SERVER]
    esxi = driver_of_kind(lab.hypervisor, EsxiHypervisor)
    assert esxi is not None
    assert server.name in {machine.name for machine in esxi.machines()}
    site = topology.machines[server.name].site
    assert server.name in {machine.name for machine in stack.inventory()[site].machines}


def host_of(topology: Topology, machine: str) -> Host:
    """Return the host that a machine is on."""
    return topology.hosts[topology.sites[topology.machines[machine].site].host]
