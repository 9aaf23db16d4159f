"""Replication to Azure as a topology says it (seed L48-68)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import BadInput
from lab.stacks.reference.components import configuration_server_config
from lab.stacks.reference.operate import protection_settings
from lab.topology.load import load_topology
from lab.topology.model import Topology

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "topologies" / "physical-to-azure.yaml"

Edited = Callable[[str, str], str]


@pytest.fixture
def errors(tmp_path: Path) -> Edited:
    def load(old: str, new: str) -> str:
        text = SOURCE.read_text()
        assert old in text
        path = tmp_path / "lab.yaml"
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(BadInput) as caught:
            load_topology(path)
        return str(caught.value)

    return load


@pytest.fixture
def topology() -> Topology:
    return load_topology(SOURCE)


@pytest.mark.requirement("V2A-CS-ONE", "V2A-PS-DEFAULT", "V2A-MT-DEFAULT", "P2A-CS-PHYS")
def test_one_management_server_has_the_three_roles(topology: Topology, errors: Edited) -> None:
    assert [role.value for role in topology.machines["mgmt1"].roles] == [
        "configuration-server",
        "process-server",
        "master-target",
    ]
    message = errors("[configuration-server, process-server, master-target]", "[configuration-server, process-server]")
    assert "all three roles" in message


def test_machines_in_azure_run_on_libvirt(errors: Edited) -> None:
    message = errors("azure:\n  host: local\n", "azure:\n  host: esxi\n")
    assert "machines in Azure run on a libvirt host; 'esxi' is" in message


@pytest.mark.requirement("P2A-FB-VMWARE", "P2A-FB-NOPHYS", "V2A-FB-PREREQ")
def test_machines_come_back_from_azure_to_vmware_only(errors: Edited) -> None:
    message = errors("vmware: {host: esxi}", "vmware: {host: local}")
    assert "come back to VMware only (seed L90); mt2 is on qemu:///system" in message


@pytest.mark.requirement("P2A-FB-VMWARE")
def test_a_physical_machine_comes_back_with_the_cards_of_a_new_one(errors: Edited) -> None:
    cards = "      failback_interfaces:\n        - {network: primary, address: 10.10.0.11}\n"
    message = errors(cards, "")
    assert "app1 comes back as a new VMware machine and needs 'failback_interfaces'" in message
    assert "app1 comes back to its own site, and mt2 is at vmware" in message


def test_the_machine_that_comes_back_has_the_address_of_the_one_that_was(topology: Topology, errors: Edited) -> None:
    replica = topology.machines["app1"].replica
    assert replica is not None
    assert replica.failback_interfaces[0].address == topology.machines["app1"].interfaces[1].address
    card = "failback_interfaces:\n        - {network: primary, address: 10.10.0.11}"
    assert "10.10.0.12 on primary belongs to" in errors(card, card.replace(".11}", ".12}"))


@pytest.mark.requirement("V2A-NET-NOVPN")
def test_replication_over_a_vpn_is_refused_before_anything_is_made(errors: Edited) -> None:
    assert "site-to-site VPN is not supported" in errors("route: internet", "route: vpn")


@pytest.mark.requirement("V2A-NET-PUBLIC", "V2A-NET-ER")
def test_the_second_way_is_expressroute(tmp_path: Path, errors: Edited) -> None:
    text = SOURCE.read_text().replace("route: internet", "route: expressroute").replace("203.0.113.1", "198.51.100.1")
    path = tmp_path / "lab.yaml"
    path.write_text(text.replace("address: 203.0.113.21}", "address: 203.0.113.22}"))
    assert load_topology(path).azure.route == "expressroute"
    assert "is outside" in errors("route: internet", "route: expressroute")
    assert "internet or expressroute" in errors("route: internet", "route: primary")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("vault_address: 203.0.113.10", "vault_address: 203.0.113.21", "belongs to mgmt1"),
        ("storage_address: 203.0.113.11", "storage_address: 203.0.113.10", "addresses of their own"),
        ("      process_server: mgmt1", "      process_server: mgmt1\n      master_target: mgmt1", "without a master"),
        ("  host: local\n  route", "  host: lokal\n  route", "lokal"),
        ("scenario: P2A", "scenario: P2S", "needs 'master_target'"),
        ("source: physical", "source: hyperv", "source"),
    ],
)
def test_a_mistake_is_named(errors: Edited, old: str, new: str, message: str) -> None:
    assert message in errors(old, new)


def test_without_azure_the_scenario_is_not_complete(errors: Edited) -> None:
    text = SOURCE.read_text()
    block = text[text.index("azure:\n  host") : text.index("images:")]
    assert "needs 'azure'" in errors(block, "")


def test_the_configuration_server_is_told_of_the_vault(topology: Topology) -> None:
    config = configuration_server_config(topology, {"primary": 4711})
    assert config["vault"] == {"address": "203.0.113.10", "port": 443}
    settings = protection_settings(topology, "app1")
    assert settings["azure"] == {"server": "physical-to-azure-servers", "source": "physical"}
    assert not {"master_target", "recovery_fabric"} & set(settings)
