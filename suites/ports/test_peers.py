"""Two machines that replicate straight to each other speak on one port, with each other and with nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

from fixtures.stacks import SSH_PORT, Protected
from lab.measure.peers import call
from lab.measure.ports import connections, open_ports
from lab.networks.firewall import Firewall, Flow
from lab.stacks.machines import MachineState
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from lab.topology.networks import SwitchNetwork
from lab.waiting import Deadline, wait_until
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_peers

LINK_SECONDS = 180.0


@pytest.fixture
def port(primary_role: Protected) -> int:
    """The stack's port between the two machines."""
    assert primary_role.to_peer is not None
    return primary_role.to_peer.port


@pytest.fixture
def stranger(primary_role: Protected, topology: Topology, port: int) -> Iterator[Flow]:
    """A call from an address that nobody has told the stack of; the peer has it too while the test runs."""
    ssh, known = primary_role.peer.ssh, IPv4Address(primary_role.peer_address)
    networks = (network for network in topology.networks.values() if isinstance(network, SwitchNetwork))
    subnet = next(network.subnet for network in networks if known in network.subnet)
    taken = {card.address for machine in topology.machines.values() for card in machine.interfaces}
    address = next(str(host) for host in subnet.hosts() if host not in taken)
    card = next(line.split()[1] for line in ssh.check("ip", "-o", "-4", "address").splitlines() if f" {known}/" in line)
    where = (f"{address}/{subnet.prefixlen}", "dev", card)
    ssh.check("ip", "address", "add", *where)
    yield Flow(IPv4Address(address), IPv4Address(primary_role.address), port)
    ssh.check("ip", "address", "del", *where)


@pytest.mark.requirement("V2A-LEAST")
def test_both_listen_for_the_other_and_for_nobody_else(
    stack: Stack, primary_role: Protected, port: int, evidence: EvidenceRecorder, record_ports: Callable[..., None]
) -> None:
    """A stack may listen on its port or not while the two are connected; it may on no other."""
    assert stack.machine(primary_role.name).state is MachineState.PROTECTED
    for machine in (primary_role.machine, primary_role.peer):
        found = open_ports(machine.ssh)
        evidence.attach(f"sockets-{machine.name}.txt", machine.ssh.check("ss", "-tanp"))
        record_ports(machine.name, {SSH_PORT} | ({port} & found), found)
        assert found - {port} == {SSH_PORT}, machine.name


@pytest.mark.requirement("V2A-LEAST")
def test_data_goes_from_one_to_the_other_over_that_port(
    primary_role: Protected, port: int, evidence: EvidenceRecorder
) -> None:
    found = [each for each in connections(primary_role.machine.ssh) if port in {each.here_port, each.there_port}]
    evidence.attach("connections.txt", "".join(f"{each}\n" for each in found))
    assert found, f"nothing is connected over port {port}, so this proves nothing"
    assert {(each.here, each.there) for each in found} == {(primary_role.address, primary_role.peer_address)}


@pytest.mark.needs_bridges
@pytest.mark.requirement("V2A-LEAST")
def test_a_stranger_gets_nothing_while_the_peer_is_away(
    stack: Stack, primary_role: Protected, stranger: Flow, firewall: Firewall, evidence: EvidenceRecorder
) -> None:
    name, ssh, port = primary_role.name, primary_role.machine.ssh, stranger.port
    with firewall.only([stranger]):
        deadline = Deadline.after(LINK_SECONDS)
        stack.wait_status(name, lambda status: status.health.status == "critical", "loss of the peer", deadline)
        wait_until(lambda: port in open_ports(ssh), deadline, f"listener on port {port}")
        answer = call(primary_role.peer.ssh, primary_role.address, port, source=str(stranger.source), plain=True)
        evidence.attach("answer.txt", f"{answer}\n")
        assert answer.tcp, "the port was not reachable, so this proves nothing"
        assert answer.refused
        assert stack.machine(name).health.status == "critical", "a stranger was taken for the peer"
    deadline = Deadline.after(LINK_SECONDS)
    stack.wait_status(name, lambda status: status.health.status == "healthy", "peer that is back", deadline)
