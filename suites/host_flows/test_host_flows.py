"""Data goes from host to host over the way between the sites, with certificates; logs wait in .hrl files.

About three minutes without acceleration.
"""

from __future__ import annotations

import json

import pytest

from fixtures.equality import point_now
from fixtures.host_images import images
from fixtures.stacks import SSH_PORT, Protected
from fixtures.strangers import IDENTITY, make_stranger
from lab.machines.ssh import SshTransport
from lab.measure.peers import Answer, call
from lab.measure.ports import listeners, open_ports
from lab.stacks.addresses import address_towards
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from lab.waiting import Deadline, wait_until
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_hosts, pytest.mark.needs_secondary_site]

SERVICE = "recovery-provider"
WRITTEN = 16 << 20
CATCH_UP_SECONDS = 300.0


def call_recovery_host(topology: Topology, role: Protected, stack: Stack, **how: str | bool) -> Answer:
    """Call the data port of the recovery host from the machine's host, as the machine's data does."""
    host, recovery = role.host, role.recovery_host
    address = address_towards(topology, topology.machines[host.name].interfaces, recovery.name)
    path = f"/v1/streams/{stack.machine(role.name).attributes['stream']}"
    return call(host.ssh, address, role.policy.master_target_port, path=path, **how)  # type: ignore[arg-type]


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
def test_a_host_authenticates_by_certificate(topology: Topology, primary_role: Protected, stack: Stack) -> None:
    identity = IDENTITY.format(kind="provider")
    known = {"identity": identity, "ca": f"{identity}/ca.pem"}
    answer = call_recovery_host(topology, primary_role, stack, **known)
    assert answer.tls == "TLSv1.3"
    assert answer.http == 200
    stranger = make_stranger(primary_role.host.ssh)
    for how in ({"plain": True}, {}, {"identity": stranger}):
        answer = call_recovery_host(topology, primary_role, stack, **how)
        assert answer.tcp, "the port is not reachable, so this proves nothing"
        assert answer.refused, f"the recovery host answered {answer.http} to {how}"


@pytest.mark.requirement("H2S-DATAPATH", "H2S-DELTA")
def test_data_takes_the_way_between_the_sites(
    topology: Topology, primary_role: Protected, stack: Stack, evidence: EvidenceRecorder
) -> None:
    host = primary_role.host
    wan = address_towards(topology, topology.machines[host.name].interfaces, primary_role.recovery_host.name)
    before = sent_bytes(host.ssh)
    write_and_cut(stack, primary_role)
    after = sent_bytes(host.ssh)
    sent = {address: after[address] - before.get(address, 0) for address in after}
    evidence.attach("sent.json", json.dumps(sent, indent=1))
    way = network_of(topology, host.name, wan)
    mine = topology.machines[host.name].interfaces
    elsewhere = [str(card.address) for card in mine if card.address is not None and card.network != way]
    assert sent[address_of(topology, host.name, way)] > WRITTEN
    assert sum(sent.get(address, 0) for address in elsewhere) < WRITTEN / 4, "data took another way"


@pytest.mark.requirement("H2S-HRL", "H2A-HRL", "LAB-RECOVERY")
def test_changes_wait_in_hrl_files_beside_their_disk_while_nobody_takes_them(
    primary_role: Protected, stack: Stack, evidence: EvidenceRecorder
) -> None:
    stream = stack.machine(primary_role.name).attributes["stream"]
    host, recovery = primary_role.host, primary_role.recovery_host
    recovery.ssh.check("systemctl", "stop", SERVICE)
    try:
        write(primary_role)
        stack.cut_now(primary_role.name, Deadline.after(CATCH_UP_SECONDS))
        found = wait_until(
            lambda: [name for name in images(host.ssh) if name.endswith(".hrl") and stream in name],
            Deadline.after(CATCH_UP_SECONDS),
            "changes in .hrl files",
        )
        evidence.attach("hrl-files.txt", "\n".join(found))
        assert len(found) >= len(primary_role.disks), "each disk has a file of its own"
    finally:
        recovery.ssh.check("systemctl", "start", SERVICE)
    wait_until(
        lambda: not [name for name in images(host.ssh) if name in found],
        Deadline.after(CATCH_UP_SECONDS),
        "the .hrl files to be sent",
        every=1.0,
    )
    status = stack.machine(primary_role.name)
    assert status.attributes["stream"] == stream, "nothing had to be copied again"
    assert not status.resynchronising


def write(role: Protected) -> None:
    """Write random bytes, which nothing can make smaller, to the data disk."""
    where = f"{role.data_disk.mount}/random"
    role.machine.ssh.check("dd", "if=/dev/urandom", f"of={where}", "bs=1M", f"count={WRITTEN >> 20}", "conv=fsync")


def write_and_cut(stack: Stack, role: Protected) -> None:
    """Write, have a point made, and wait until it is there."""
    write(role)
    point_now(stack, role)


def sent_bytes(ssh: SshTransport) -> dict[str, int]:
    """Return the bytes that every card has sent, by its address."""
    links = json.loads(ssh.check("ip", "-j", "-s", "address", "show"))
    return {
        info["local"]: int(link["stats64"]["tx"]["bytes"])
        for link in links
        for info in link.get("addr_info", ())
        if "stats64" in link
    }


def network_of(topology: Topology, machine: str, other: str) -> str:
    """Return the network of a machine that an address is on."""
    return next(
        card.network
        for each in topology.machines.values()
        for card in each.interfaces
        if str(card.address) == other and card.network in {c.network for c in topology.machines[machine].interfaces}
    )


def address_of(topology: Topology, machine: str, network: str) -> str:
    """Return the address of a machine on a network."""
    return next(str(card.address) for card in topology.machines[machine].interfaces if card.network == network)
