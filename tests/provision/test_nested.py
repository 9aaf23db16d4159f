"""From a topology with hypervisor hosts that are machines to what these are given, and how they are reached."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.hypervisors.model import Endpoint, Machine, PowerState, image_serial
from lab.hypervisors.nested.host import MANAGEMENT, Inner, bridge_name, forwarding
from lab.images.identity import Bridge, NetworkCard, bridge_file, networkd_file
from lab.machines.ssh import CONNECT_SECONDS, PATIENT_SECONDS
from lab.provision import nested
from lab.provision.blueprint import blueprint
from lab.provision.home import Home
from lab.provision.lab import Lab
from lab.provision.state import LabState, Phase
from lab.topology.load import load_topology
from lab.topology.model import Topology
from lab.topology.naming import mac_for

TOPOLOGY = Path(__file__).parents[2] / "topologies" / "hyperv-to-secondary.yaml"


@pytest.fixture(scope="module")
def topology() -> Topology:
    return load_topology(TOPOLOGY)


def test_hosts_and_what_runs_inside_of_them(topology: Topology) -> None:
    assert nested.hosts_of(topology) == ["hv1", "hv2"]
    assert nested.inside(topology) == {"app1": "hv1"}
    assert nested.networks_inside(topology) == ["management", "primary", "secondary", "bubble"]


def test_a_host_has_a_bridge_for_every_network_and_its_own_address_only_where_it_has_a_card(topology: Topology) -> None:
    primary, recovery = blueprint(topology, "hv1"), blueprint(topology, "hv2")
    addresses = {bridge.name: bridge.address for bridge in primary.bridges}
    assert addresses[bridge_name("primary")] == ipaddress.IPv4Interface("10.10.0.31/24")
    assert addresses[bridge_name("bubble")] is None, "the network for tests leaves the host nowhere"
    assert {card.network for card in primary.cards if card.bridge} == {"primary"}
    assert {card.network for card in recovery.cards if card.bridge} == {"secondary"}
    wan = next(card for card in primary.cards if card.network == "wan")
    assert wan.bridge is None
    assert wan.address == ipaddress.IPv4Interface("10.30.0.31/24")


def test_every_host_leads_a_port_of_its_own_to_each_inner_machine(topology: Topology) -> None:
    (inner,) = nested.numbered(nested.inside(topology))
    for host in nested.hosts_of(topology):
        management = blueprint(topology, host).spec.management
        assert management is not None
        assert management.forwards == (inner.port,)
    management_bridge = next(b for b in blueprint(topology, "hv2").bridges if b.name == bridge_name("management"))
    assert management_bridge.leases == ((mac_for("hyperv-to-secondary", "app1", "management"), inner.address),)
    assert inner.address in MANAGEMENT.network
    assert not blueprint(topology, "rec1").bridges
    others = blueprint(topology, "rec1").spec.management
    assert others is not None
    assert others.forwards == ()


def test_a_host_is_given_the_images_of_its_machines_as_disks(topology: Topology) -> None:
    images = {name: Path(f"/images/{machine.image}.raw") for name, machine in topology.machines.items()}
    (medium,) = nested.media(topology, "hv1", images)
    assert (medium.path, medium.serial) == ("/images/debian.raw", image_serial(Path("/images/debian.raw")))
    assert len(medium.serial) <= 20
    assert nested.media(topology, "hv2", images) == ()


def test_forwarding_leads_to_ssh_alone() -> None:
    rules = forwarding((Inner("app1", 0), Inner("app2", 1)), "br0")
    assert "tcp dport 2211 dnat to 192.168.126.11:22" in rules
    assert "tcp dport 2212 dnat to 192.168.126.12:22" in rules
    assert "policy drop" in rules


def test_a_card_on_a_bridge_has_no_address_and_asks_for_none() -> None:
    card = NetworkCard("primary", "52:54:00:00:00:01", ipaddress.IPv4Interface("10.10.0.31/24"), bridge="br0")
    text = networkd_file(card)
    assert "Bridge=br0" in text
    assert "Address=10" not in text
    assert "DHCP" not in text


def test_a_bridge_hands_out_addresses_only_where_it_has_some_to_give() -> None:
    plain = bridge_file(Bridge("br0", None))
    assert "DHCPServer" not in plain
    assert "Address=" not in plain
    leases = (("52:54:00:00:00:01", ipaddress.IPv4Address("192.168.126.11")),)
    giving = bridge_file(Bridge("br1", MANAGEMENT, leases))
    assert "DHCPServer=yes" in giving
    assert "MACAddress=52:54:00:00:00:01\nAddress=192.168.126.11" in giving
    assert "EmitRouter=no" in giving, "the way out of a machine is never the management network"


@dataclass
class OneHost:
    """A driver with one machine; it says which calls came."""

    name: str
    calls: list[str] = field(default_factory=list)

    def power(self, name: str) -> PowerState:
        from lab.hypervisors.protocols import NotFound

        if name != self.name:
            raise NotFound(name)
        return PowerState.ON

    def endpoint(self, name: str) -> Endpoint:
        return Endpoint("127.0.0.1", 2200 + len(name))

    def machine(self, name: str) -> Machine:
        self.calls.append(name)
        return Machine(name, PowerState.ON, 1, 256, (), ())


def state(**more: object) -> LabState:
    fields = {
        "lab": "nest",
        "topology": TOPOLOGY,
        "topology_digest": "",
        "host_uris": ("qemu:///system",),
        "acceleration": "tcg",
        "phase": Phase.UP,
        "host_keys": {"app1": "ssh-ed25519 A", "app1-b": "ssh-ed25519 B", "hv1": "ssh-ed25519 C"},
        "on_libvirt": ("hv1", "app1-b"),
    }
    return LabState.model_validate({**fields, **more})


def test_machines_and_disks_are_made_where_the_topology_says() -> None:
    found = state(inside={"app1": "hv1"}, nested_hosts=("hv1",))
    assert nested._place("app1", found) == "hv1"
    assert nested._place("app1-system", found) == "hv1"
    assert nested._place("app1-b", found) == ""
    assert nested._place("app1-b-system", found) == ""
    assert nested._place("hv1-system", found) == ""


def test_a_lab_without_such_hosts_keeps_its_driver(tmp_path: Path) -> None:
    outer = OneHost("hv1")
    assert nested.with_hosts(outer, state(), Home(tmp_path)) is outer  # type: ignore[arg-type]


def test_the_port_of_an_inner_machine_is_the_same_for_its_copies() -> None:
    inner = Inner("app1", 3)
    assert (str(inner.address), inner.port) == ("192.168.126.14", 2214)
    assert Endpoint("127.0.0.1", inner.port).port == 2214


def test_a_login_inside_of_a_host_and_to_a_copy_there_may_take_longer(topology: Topology, tmp_path: Path) -> None:
    found = state(inside={"app1": "hv1"}, nested_hosts=("hv1",))
    lab = Lab(topology, Home(tmp_path).lab("nest"), found, OneHost("hv1"))  # type: ignore[arg-type]
    patience = [
        lab.machine(name, identity_of=whose).ssh.connect_seconds
        for name, whose in (("hv1", None), ("app1", None), ("app1-replica", "app1"))
    ]
    assert patience == [CONNECT_SECONDS, PATIENT_SECONDS, PATIENT_SECONDS]
