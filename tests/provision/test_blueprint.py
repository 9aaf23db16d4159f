"""From the embedded topology to what hypervisors and identities are told."""

import ipaddress
from pathlib import Path

import pytest

from lab.hypervisors.model import DiskAttachment, DiskId
from lab.images.identity import Filesystem
from lab.provision.blueprint import Blueprint, blueprint, cards, hosts_file
from lab.topology.load import load_topology
from lab.topology.model import Topology
from lab.topology.naming import SERIAL_LENGTH

MIB = 1 << 20


@pytest.fixture
def app1(embedded: Topology) -> Blueprint:
    return blueprint(embedded, "app1")


def test_a_machine_has_its_size_and_disks_in_order(app1: Blueprint) -> None:
    assert (app1.name, app1.image, app1.spec.cpus, app1.spec.memory_mib) == ("app1", "debian", 1, 384)
    assert app1.spec.disks == tuple(
        DiskAttachment(DiskId(f"app1-{name}"), name) for name in ("system", "data", "changes")
    )
    assert list(app1.disk_sizes.values()) == [900 * MIB, 256 * MIB, 1024 * MIB]
    assert set(app1.disk_sizes) == {attachment.disk for attachment in app1.spec.disks}
    assert app1.spec.seed is None


def test_only_switches_become_cards_of_the_hypervisor(app1: Blueprint, embedded: Topology) -> None:
    assert [nic.network for nic in app1.spec.nics] == ["primary"]
    assert app1.spec.management is not None
    assert not app1.spec.management.host_access
    server = blueprint(embedded, "mt1").spec
    assert [nic.network for nic in server.nics] == ["recovery", "wan"]
    assert server.management is not None
    assert server.management.host_access


def test_the_identity_names_the_cards_that_the_hypervisor_makes(embedded: Topology) -> None:
    for name in embedded.machines:
        plan = blueprint(embedded, name)
        made = {nic.network: nic.mac for nic in plan.spec.nics}
        assert plan.spec.management is not None
        made["management"] = plan.spec.management.mac
        assert {card.network: card.mac for card in plan.cards} == made


def test_cards_carry_addresses_and_routes(app1: Blueprint) -> None:
    management, primary = app1.cards
    assert (management.address, management.routes) == (None, ())
    assert primary.address == ipaddress.IPv4Interface("10.10.0.11/24")
    assert [(str(route.to), str(route.via)) for route in primary.routes] == [("10.30.0.0/24", "10.10.0.21")]


def test_a_disk_that_is_replicated_to_a_peer_is_left_to_the_stack() -> None:
    topology = load_topology(Path(__file__).parents[2] / "topologies" / "drbd.yaml")
    assert blueprint(topology, "app1").filesystems == ()
    assert [disk.disk.name for disk in blueprint(topology, "app1").spec.disks] == [
        "app1-system", "app1-data", "app1-changes",
    ]  # fmt: skip


def test_only_disks_with_a_mount_become_filesystems(app1: Blueprint) -> None:
    assert app1.filesystems == (Filesystem("data", "ext4", "/data"),)


def test_routers_forward_and_others_do_not(embedded: Topology) -> None:
    forwarding = {name for name in embedded.machines if blueprint(embedded, name).forwards_packets}
    assert forwarding == {"ps1", "mt1"}


def test_names_and_macs_are_unique_in_a_lab(embedded: Topology) -> None:
    plans = [blueprint(embedded, name) for name in embedded.machines]
    disks = [disk for plan in plans for disk in plan.disk_sizes]
    macs = [card.mac for plan in plans for card in plan.cards]
    assert len(set(disks)) == len(disks)
    assert len(set(macs)) == len(macs)
    assert all(len(item.serial) <= SERIAL_LENGTH for plan in plans for item in plan.spec.disks)


def test_a_replica_has_cards_of_its_own(embedded: Topology) -> None:
    replica = embedded.machines["app1"].replica
    assert replica is not None
    (card,) = cards(embedded, "app1-replica", replica.interfaces)
    (copy,) = cards(embedded, "app1-test", replica.test_interfaces)
    assert str(card.address) == str(copy.address) == "10.20.0.11/24"
    assert card.mac != copy.mac


def test_every_machine_knows_all_addresses(embedded: Topology) -> None:
    hosts = hosts_file(embedded)
    assert ("app2", "10.10.0.12") in hosts
    assert [address for name, address in hosts if name == "mt1"] == ["10.20.0.31", "10.30.0.31"]
    assert len(hosts) == 6


def test_an_unknown_machine_is_an_error(embedded: Topology) -> None:
    with pytest.raises(KeyError):
        blueprint(embedded, "nobody")
