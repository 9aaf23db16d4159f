"""Who speaks with Azure: the configuration server with the vault, the process server with the storage, nobody else.

About two minutes. 8 MiB of noise are written on a protected machine, so that it can be seen which card they leave by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from fixtures.equality import mount_of, point_now
from fixtures.stacks import Protected
from fixtures.strangers import IDENTITY, make_stranger
from lab.errors import BadInput
from lab.machines.ssh import SshTransport
from lab.measure.peers import call
from lab.provision.lab import Lab, LabMachine
from lab.stacks.machines import Operation
from lab.stacks.protocol import Stack
from lab.topology.azure import Azure
from lab.topology.load import load_topology
from lab.topology.machines import Role
from lab.topology.model import Topology
from lab.topology.networks import SwitchNetwork
from lab.waiting import Deadline, wait_until
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_azure

HTTPS = 443
FLOW_SECONDS = 180.0
NOISE_MIB = 8
MIB = 1 << 20
MOST_ELSEWHERE = MIB
"""Bytes that a card on no route to Azure may send meanwhile: broadcasts."""
FLOWS = (
    "ss -Htnp state established | while read -r _ _ _ peer who; do "
    "pid=${who#*pid=}; pid=${pid%%,*}; "
    'echo "$peer $(sed -n "s/.*\\/\\(recovery-[a-z-]*\\)\\.service.*/\\1/p" /proc/$pid/cgroup 2>/dev/null)"; done'
)
"""Peer and unit of every connection; the forwarder may be a child of its service."""


@pytest.fixture
def azure(topology: Topology) -> Azure:
    """Azure, as the machines see it."""
    assert topology.azure is not None
    return topology.azure


@pytest.fixture
def server(servers: dict[Role, list[LabMachine]]) -> LabMachine:
    """The management server."""
    return servers[Role.CONFIGURATION_SERVER][0]


@dataclass(frozen=True)
class Flow:
    """A connection of a service to somewhere."""

    address: str
    port: int
    unit: str


def flows(machine: LabMachine) -> set[Flow]:
    """Return the connections of a machine's services at this moment."""
    found = set()
    for line in machine.ssh.check("sh", "-c", FLOWS).splitlines():
        peer, _, unit = line.partition(" ")
        address, _, port = peer.rpartition(":")
        found.add(Flow(address.strip("[]").removeprefix("::ffff:"), int(port), unit.strip()))
    return found


@pytest.mark.requirement("V2A-CS-COORD")
def test_the_configuration_server_has_done_both_halves_of_the_enable(
    stack: Stack, primary_role: Protected, lab: Lab
) -> None:
    """One job of the configuration server told the vault and the components on-premises, in this order."""
    assert lab.topology.azure is not None
    jobs = [
        event.data["job"]
        for event in stack.events(0)
        if event.kind == "job" and event.machine == primary_role.name and event.data["operation"] == Operation.ENABLE
    ]
    steps = [step.name for step in stack.job(jobs[-1]).steps if step.state == "done"]
    wanted = ["enable-in-vault", "open-stream-at-process-server", "start-replication"]
    assert [name for name in steps if name in wanted] == wanted


@pytest.mark.requirement("V2A-PORT-443-CS-OUT", "V2A-PORT-443-PS-OUT", "V2A-LEAST")
def test_each_service_calls_its_own_endpoint_on_443_and_no_other(
    server: LabMachine, azure: Azure, primary_role: Protected, evidence: EvidenceRecorder
) -> None:
    vault, storage = str(azure.vault_address), str(azure.storage_address)
    seen: set[Flow] = set()
    wanted = {
        Flow(vault, HTTPS, "recovery-configuration-server"),
        Flow(storage, HTTPS, "recovery-process-server"),
    }

    def both_seen() -> bool:
        # A process that ends while it is looked at has no unit; its service is seen again.
        seen.update(flow for flow in flows(server) if flow.address in {vault, storage} and flow.unit)
        return wanted <= seen

    write_noise(primary_role)
    wait_until(both_seen, Deadline.after(FLOW_SECONDS), "calls of both services", every=0.2, explain=lambda: str(seen))
    evidence.attach("flows.txt", "\n".join(map(str, sorted(seen, key=str))))
    assert seen == wanted


@pytest.mark.requirement("V2A-LEAST", "V2A-PS-GATEWAY")
def test_a_protected_machine_reaches_neither_vault_nor_storage(
    protected: list[Protected], server: LabMachine, azure: Azure
) -> None:
    for address in map(str, (azure.vault_address, azure.storage_address)):
        assert call(server.ssh, address, HTTPS).tcp, f"{address} does not answer at all, so this proves nothing"
        for role in protected:
            assert not call(role.machine.ssh, address, HTTPS).tcp, f"{role.name} reaches {address}"


@pytest.mark.requirement("LAB-MUTUAL-TLS", "V2A-PORT-443-CS-OUT")
@pytest.mark.parametrize("who", ["no certificate", "a stranger", "the process server", "the master target"])
def test_the_vault_answers_a_configuration_server_only(who: str, server: LabMachine, azure: Azure) -> None:
    identity = {
        "no certificate": None,
        "a stranger": "",
        "the process server": IDENTITY.format(kind="process-server"),
        "the master target": IDENTITY.format(kind="master-target"),
    }[who]
    if identity == "":
        identity = make_stranger(server.ssh)
    own = IDENTITY.format(kind="configuration-server")
    vault = str(azure.vault_address)
    right = call(server.ssh, vault, HTTPS, path="/v1/setup", identity=own, ca=f"{own}/ca.pem")
    assert right.http == 200, f"the configuration server itself gets {right}, so this proves nothing"
    answer = call(server.ssh, vault, HTTPS, path="/v1/setup", identity=identity)
    assert answer.tcp
    assert answer.refused, f"the vault answered {answer.http} to {who}"


@pytest.mark.requirement("LAB-MUTUAL-TLS", "V2A-PORT-443-PS-OUT")
def test_the_storage_gives_nothing_without_a_signature(server: LabMachine, azure: Azure) -> None:
    for path in ("/recoverylab/?comp=list", "/recoverylab/replicas?restype=container&comp=list"):
        answer = call(server.ssh, str(azure.storage_address), HTTPS, path=path)
        assert answer.tls is not None
        assert answer.http in {401, 403, 404}, f"{path}: {answer.http}"


@pytest.mark.needs_internet_route
@pytest.mark.requirement("V2A-NET-PUBLIC", "V2A-NET-NOVPN")
def test_data_leaves_over_the_internet_and_over_nothing_else(
    stack: Stack, server: LabMachine, topology: Topology, primary_role: Protected, evidence: EvidenceRecorder
) -> None:
    assert_route(stack, server, topology, primary_role, evidence)


@pytest.mark.needs_expressroute
@pytest.mark.requirement("V2A-NET-ER", "V2A-NET-NOVPN")
def test_data_leaves_over_expressroute_and_over_nothing_else(
    stack: Stack, server: LabMachine, topology: Topology, primary_role: Protected, evidence: EvidenceRecorder
) -> None:
    assert_route(stack, server, topology, primary_role, evidence)


@pytest.mark.requirement("V2A-NET-NOVPN", "LAB-REFUSAL")
def test_a_vpn_as_the_route_is_refused(topology: Topology, tmp_path: Path, evidence: EvidenceRecorder) -> None:
    """The lab's own topology file with another route: what runs here would not even be planned."""
    assert topology.azure is not None
    vpn = next(
        name for name, each in topology.networks.items() if isinstance(each, SwitchNetwork) and each.kind == "vpn"
    )
    document = yaml.safe_load(topology.source.read_text(encoding="utf-8"))
    changed = tmp_path / "vpn.yaml"
    changed.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    assert load_topology(changed).azure == topology.azure, "the file is refused as it is, so this proves nothing"
    document["azure"]["route"] = vpn
    changed.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    with pytest.raises(BadInput) as refusal:
        load_topology(changed)
    evidence.attach("refusal.txt", str(refusal.value))
    assert "over a site-to-site VPN is not supported" in str(refusal.value)


def assert_route(
    stack: Stack, server: LabMachine, topology: Topology, role: Protected, evidence: EvidenceRecorder
) -> None:
    """Write noise, which no compression shrinks, and see by which card of the management server it leaves."""
    assert topology.azure is not None
    before = sent_by_network(server, topology)
    write_noise(role)
    point_now(stack, role)
    sent = {network: number - before[network] for network, number in sent_by_network(server, topology).items()}
    evidence.attach("bytes-sent.txt", "\n".join(f"{network}: {number}" for network, number in sent.items()))
    outside = {
        name for name in sent if isinstance(found := topology.networks[name], SwitchNetwork) and found.kind != "switch"
    }
    assert sent[topology.azure.route] >= NOISE_MIB * MIB, "the data did not leave over the route"
    for network in outside - {topology.azure.route}:
        assert sent[network] < MOST_ELSEWHERE, f"{sent[network]} bytes left over {network}"


def sent_by_network(machine: LabMachine, topology: Topology) -> Mapping[str, int]:
    """Return the bytes that a machine has sent by each card on a switch."""
    return {
        card.network: _sent(machine.ssh, str(card.address))
        for card in topology.machines[machine.name].interfaces
        if card.address is not None
    }


def _sent(ssh: SshTransport, address: str) -> int:
    device = ssh.check("sh", "-c", "ip -4 -br address | awk -v a=\"$1/\" 'index($0, a) {print $1}'", "sh", address)
    return int(ssh.check("cat", f"/sys/class/net/{device.strip().partition('@')[0]}/statistics/tx_bytes"))


def write_noise(role: Protected) -> None:
    """Write random bytes to the data disk of a machine."""
    path = f"{mount_of(role.data_disk)}/noise"
    role.machine.ssh.check(
        "dd", "if=/dev/urandom", f"of={path}", "bs=1M", f"count={NOISE_MIB}", "conv=fsync", "status=none"
    )
