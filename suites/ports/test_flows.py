"""Exactly the ports of the seed are open, to exactly the peers that need them, with TLS and a certificate."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fixtures.stacks import Protected
from fixtures.strangers import IDENTITY, make_stranger
from lab.measure.peers import Answer, call
from lab.measure.ports import open_ports
from lab.provision.lab import Lab, LabMachine
from lab.stacks.addresses import address_towards
from lab.stacks.protocol import Stack
from lab.topology.machines import Role
from lab.topology.model import Topology
from lab.topology.stack import Policy
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_agent

SSH, MANAGEMENT, GROUP_CONSISTENCY = 22, 443, 20004
SERVICE = "recovery-process-server"


@pytest.fixture
def policy(topology: Topology, primary_role: Protected) -> Policy:
    """The policy of the protected machines."""
    return topology.stack.policies[topology.stack.protect[primary_role.name].policy]


def call_server(topology: Topology, caller: LabMachine, server: LabMachine, port: int, **how: str | bool) -> Answer:
    """Call a server from a machine, by the address that the topology gives."""
    address = address_towards(topology, topology.machines[caller.name].interfaces, server.name)
    return call(caller.ssh, address, port, **how)  # type: ignore[arg-type]


@pytest.mark.requirement("V2A-PORT-443-MGMT", "V2A-PORT-9443", "V2A-LEAST")
def test_servers_listen_on_their_ports_and_no_others(
    servers: dict[Role, list[LabMachine]],
    policy: Policy,
    topology: Topology,
    evidence: EvidenceRecorder,
    record_ports: Callable[..., None],
) -> None:
    ports = {
        Role.CONFIGURATION_SERVER: MANAGEMENT,
        Role.PROCESS_SERVER: policy.process_server_port,
        Role.MASTER_TARGET: policy.master_target_port,
    }
    for machine in {machine.name: machine for group in servers.values() for machine in group}.values():
        expected = {SSH} | {port for role, port in ports.items() if role in topology.machines[machine.name].roles}
        found = open_ports(machine.ssh)
        record_ports(machine.name, expected, found)
        evidence.attach(f"listeners-{machine.name}.txt", machine.ssh.check("ss", "-ltnp"))
        assert found == expected, machine.name


@pytest.mark.needs_lone
@pytest.mark.requirement("V2A-PORT-20004-OFF", "V2A-LEAST", "V2A-PORT-443-MGMT")
def test_protected_machines_listen_for_nobody(
    protected: list[Protected], listened_before: dict[str, frozenset[int]], record_ports: Callable[..., None]
) -> None:
    for role in protected:
        found = open_ports(role.machine.ssh)
        record_ports(role.name, listened_before[role.name], found)
        assert GROUP_CONSISTENCY not in found, "multi-VM consistency is off"
        assert found == listened_before[role.name]


@pytest.mark.requirement("V2A-PORT-443-MGMT", "V2S-UA-LINK")
def test_an_agent_reaches_management_with_tls(
    topology: Topology, primary_role: Protected, servers: dict[Role, list[LabMachine]]
) -> None:
    identity = IDENTITY.format(kind="mobility")
    (server,) = servers[Role.CONFIGURATION_SERVER]
    answer = call_server(
        topology, primary_role.machine, server, MANAGEMENT, path="/v1/commands?wait=0", identity=identity,
        ca=f"{identity}/ca.pem",
    )  # fmt: skip
    assert answer.tls == "TLSv1.3"
    assert answer.http in {200, 204}


@pytest.mark.needs_encryption
@pytest.mark.requirement("V2A-PORT-9443", "V2A-PS-ENCRYPT")
def test_an_agent_reaches_its_process_server_with_tls(
    topology: Topology, primary_role: Protected, policy: Policy
) -> None:
    identity = IDENTITY.format(kind="mobility")
    answer = call_server(
        topology, primary_role.machine, primary_role.process_server, policy.process_server_port,
        path="/v1/statistics", identity=identity, ca=f"{identity}/ca.pem",
    )  # fmt: skip
    assert answer.tls == "TLSv1.3"
    assert answer.http == 200


@pytest.mark.needs_encryption
@pytest.mark.requirement("LAB-MUTUAL-TLS", "V2A-PS-ENCRYPT")
@pytest.mark.parametrize("how", ["plain text", "no certificate", "certificate of a stranger"])
def test_strangers_get_nothing(
    how: str, topology: Topology, primary_role: Protected, policy: Policy, servers: dict[Role, list[LabMachine]]
) -> None:
    caller = primary_role.machine
    options: dict[str, str | bool] = {"plain": True} if how == "plain text" else {}
    if how == "certificate of a stranger":
        options["identity"] = make_stranger(caller.ssh)
    ports = [
        (servers[Role.CONFIGURATION_SERVER][0], MANAGEMENT),
        (primary_role.process_server, policy.process_server_port),
        (servers[Role.MASTER_TARGET][0], policy.master_target_port),
    ]
    for server, port in ports:
        answer = call_server(topology, caller, server, port, path="/v1/components", **options)
        assert answer.tcp, f"{server.name}:{port} is not reachable, so this proves nothing"
        assert answer.refused, f"{server.name}:{port} answered {answer.http} to {how}"


@pytest.mark.needs_secondary_site
@pytest.mark.requirement("LAB-MUTUAL-TLS", "V2S-MT-RECV", "V2S-PS-XFER")
def test_the_wrong_component_is_refused(
    topology: Topology, primary_role: Protected, policy: Policy, stack: Stack
) -> None:
    stream = stack.machine(primary_role.name).attributes["stream"]
    agent = IDENTITY.format(kind="mobility")
    direct = call_server(
        topology, primary_role.machine, primary_role.master_target, policy.master_target_port,
        path=f"/v1/streams/{stream}", identity=agent, ca=f"{agent}/ca.pem",
    )  # fmt: skip
    assert direct.http == 403, "an agent may not send to a master target past the process server"
    target = IDENTITY.format(kind="master-target")
    wrong = call_server(
        topology, primary_role.master_target, primary_role.process_server, policy.process_server_port,
        path=f"/v1/streams/{stream}", identity=target, ca=f"{target}/ca.pem",
    )  # fmt: skip
    assert wrong.http == 403, "a process server takes data from agents only"


@pytest.mark.requirement("LAB-MUTUAL-TLS", "LAB-FENCE")
def test_an_agent_may_not_speak_for_another(
    topology: Topology, primary_role: Protected, other_role: Protected, policy: Policy, stack: Stack
) -> None:
    stream = stack.machine(primary_role.name).attributes["stream"]
    identity = IDENTITY.format(kind="mobility")
    answer = call_server(
        topology, other_role.machine, primary_role.process_server, policy.process_server_port,
        path=f"/v1/streams/{stream}", identity=identity, ca=f"{identity}/ca.pem",
    )  # fmt: skip
    assert answer.http == 403


@pytest.mark.requirement("V2S-PS-PUSH", "V2A-PS-PUSH", "V2S-UA-EACH", "V2A-MOB-EACH", "V2A-MOB-PUSH")
def test_the_agent_was_pushed_by_the_process_server(protected: list[Protected], lab: Lab) -> None:
    for role in protected:
        host = lab.machine(role.name).host
        assert host.service("recovery-mobility").is_running
        assert host.service("recovery-mobility").is_enabled
        settings = host.file("/etc/recovery/mobility.json")
        assert settings.mode == 0o600
        journal = role.process_server.ssh.check(
            "journalctl", "-u", "recovery-process-server", "-o", "cat", "--no-pager"
        )
        assert "push-install" in journal


@pytest.mark.needs_secondary_site
@pytest.mark.requirement("V2S-MT-UA", "V2S-PS-PRIMARY", "V2S-CS-SECONDARY", "V2S-MT-SECONDARY", "V2S-SETUP")
def test_components_stand_in_the_right_sites(
    stack: Stack, topology: Topology, primary_role: Protected, servers: dict[Role, list[LabMachine]]
) -> None:
    home = topology.machines[primary_role.name].site
    registered = {component.id for component in stack.components()}
    assert topology.machines[primary_role.process_server.name].site == home
    assert topology.machines[primary_role.master_target.name].site != home
    assert topology.machines[servers[Role.CONFIGURATION_SERVER][0].name].site != home
    assert f"process-server-{primary_role.process_server.name}" in registered
    assert f"master-target-{primary_role.master_target.name}" in registered
    assert primary_role.master_target.host.service("recovery-master-target").is_running
