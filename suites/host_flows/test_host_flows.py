"""Data goes from host to host over the way between the sites, with certificates; logs wait in .hrl files.

About three minutes without acceleration.
"""

from __future__ import annotations

import json

import pytest

from fixtures.equality import point_now
from fixtures.host_images import PROVIDER
from fixtures.host_ways import address_on_the_way, call_recovery_host, known_caller, sent_bytes
from fixtures.services import stopped
from fixtures.stacks import SSH_PORT, Protected
from fixtures.strangers import make_stranger
from fixtures.waiting_changes import WRITTEN, waited_in_files, write
from lab.measure.ports import listeners, open_ports
from lab.stacks.addresses import address_towards
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_hosts, pytest.mark.needs_secondary_site]


@pytest.mark.requirement("H2S-HOSTS", "H2S-DATAPATH", "LAB-MUTUAL-TLS")
def test_hosts_listen_for_data_on_the_way_between_the_sites_only(
    topology: Topology, primary_role: Protected, evidence: EvidenceRecorder
) -> None:
    port = primary_role.policy.master_target_port
    pair = (primary_role.host, primary_role.recovery_host)
    for mine, other in (pair, pair[::-1]):
        evidence.attach(f"listeners-{mine.name}.txt", mine.ssh.check("ss", "-ltnp"))
        assert open_ports(mine.ssh) == {SSH_PORT, port}
        address = address_towards(topology, topology.machines[other.name].interfaces, mine.name)
        assert {item.address for item in listeners(mine.ssh) if item.port == port} == {address}


@pytest.mark.requirement("H2S-AUTH-CERT", "LAB-MUTUAL-TLS")
def test_a_host_authenticates_by_certificate(primary_role: Protected, stack: Stack) -> None:
    stream = stack.machine(primary_role.name).attributes["stream"]
    answer = call_recovery_host(primary_role, stream, **known_caller())
    assert answer.tls == "TLSv1.3"
    assert answer.http == 200
    stranger = make_stranger(primary_role.host.ssh)
    for how in ({"plain": True}, {}, {"identity": stranger}):
        answer = call_recovery_host(primary_role, stream, **how)
        assert answer.tcp, "the port is not reachable, so this proves nothing"
        assert answer.refused, f"the recovery host answered {answer.http} to {how}"


@pytest.mark.requirement("H2S-DATAPATH", "H2S-DELTA")
def test_data_takes_the_way_between_the_sites(
    topology: Topology, primary_role: Protected, stack: Stack, evidence: EvidenceRecorder
) -> None:
    host = primary_role.host
    before = sent_bytes(host.ssh)
    write_and_cut(stack, primary_role)
    after = sent_bytes(host.ssh)
    sent = {address: after[address] - before.get(address, 0) for address in after}
    evidence.attach("sent.json", json.dumps(sent, indent=1))
    mine_on_the_way = address_on_the_way(primary_role)
    mine = topology.machines[host.name].interfaces
    elsewhere = [str(card.address) for card in mine if card.address is not None]
    elsewhere.remove(mine_on_the_way)
    assert sent[mine_on_the_way] > WRITTEN
    assert sum(sent.get(address, 0) for address in elsewhere) < WRITTEN / 4, "data took another way"


@pytest.mark.requirement("H2S-HRL", "H2A-HRL", "LAB-RECOVERY")
def test_changes_wait_in_hrl_files_beside_their_disk_while_nobody_takes_them(
    primary_role: Protected, stack: Stack, evidence: EvidenceRecorder
) -> None:
    waited_in_files(primary_role, stack, evidence, stopped(primary_role.recovery_host.ssh, PROVIDER))


def write_and_cut(stack: Stack, role: Protected) -> None:
    """Write, have a point made, and wait until it is there."""
    write(role)
    point_now(stack, role)
