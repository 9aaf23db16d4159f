"""What the reference stack's components are told, and the words that must never show."""

import json
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import BadInput
from lab.provision.blueprint import blueprint
from lab.replication.common.config import ServiceConfig
from lab.stacks.addresses import address_towards, server_addresses
from lab.stacks.reference.components import (
    configuration_server_config,
    configuration_server_name,
    console_config,
    fabric_config,
    management_endpoint,
    mobility_settings,
    server_config,
)
from lab.stacks.secrets import pairing_passphrase
from lab.topology.load import load_topology
from lab.topology.machines import Disk, Role
from lab.topology.model import Topology
from lab.topology.networks import Interface

TEXT = (Path(__file__).parents[2] / "topologies" / "embedded.yaml").read_text()
GENERATED = "pairing_passphrase: {generate: true}"
WORD = "correct-horse-battery"
Edited = Callable[..., Topology]


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    def load(*edits: tuple[str, str]) -> Topology:
        text = TEXT
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "lab.yaml"
        path.write_text(text)
        return load_topology(path)

    return load


def towards(topology: Topology, machine: str, server: str) -> str:
    return address_towards(topology, topology.machines[machine].interfaces, server)


@pytest.mark.parametrize(
    ("machine", "server", "address"),
    [
        ("app1", "ps1", "10.10.0.21"),  # a network that both are on
        ("ps1", "mt1", "10.30.0.31"),  # not its address on the far network
        ("app1", "mt1", "10.30.0.31"),  # by a route
        ("mt1", "app2", "10.10.0.12"),  # by a route
        ("mt1", "mt1", "10.20.0.31"),
    ],
)
def test_a_server_is_called_by_the_address_that_leads_to_it(
    embedded: Topology, machine: str, server: str, address: str
) -> None:
    assert towards(embedded, machine, server) == address


def test_a_shared_network_is_better_than_an_earlier_route(embedded: Topology) -> None:
    app1 = embedded.machines["app1"].interfaces
    routed = next(card for card in app1 if card.routes)
    wan = Interface.model_validate({"network": "recovery", "address": "10.20.0.50"})
    assert address_towards(embedded, (routed, wan), "mt1") == "10.20.0.31"


def test_a_replica_calls_from_where_it_will_be(embedded: Topology) -> None:
    replica = embedded.machines["app1"].replica
    assert replica is not None
    assert address_towards(embedded, replica.interfaces, "mt1") == "10.20.0.31"
    assert address_towards(embedded, replica.interfaces, "ps1") == "10.30.0.21"


def test_no_way_is_an_error_that_names_both_ends(embedded: Topology) -> None:
    replica = embedded.machines["app1"].replica
    assert replica is not None
    with pytest.raises(BadInput, match=r"embedded.yaml: a machine on bubble has no way to ps1"):
        address_towards(embedded, replica.test_interfaces, "ps1")
    with pytest.raises(BadInput, match="no way to mt1"):
        address_towards(embedded, (), "mt1")


def test_the_management_network_is_no_way_to_a_server(embedded: Topology) -> None:
    assert [network for network, _ in server_addresses(embedded, "mt1")] == ["recovery", "wan"]


def test_there_is_exactly_one_configuration_server(embedded: Topology) -> None:
    assert configuration_server_name(embedded) == "mt1"
    others = embedded.model_copy(update={"machines": {"app1": embedded.machines["app1"]}})
    with pytest.raises(BadInput, match="there are 0"):
        configuration_server_name(others)
    two = {"mt1": embedded.machines["mt1"], "mt2": embedded.machines["mt1"]}
    with pytest.raises(BadInput, match="there are 2"):
        configuration_server_name(embedded.model_copy(update={"machines": two}))


@pytest.mark.parametrize("site", ["primary", "recovery"])
def test_a_fabric_touches_only_machines_of_its_site(embedded: Topology, site: str) -> None:
    config = fabric_config(embedded, site, 9445, "/identity", {"kind": "libvirt"})
    mine = {name for name, machine in embedded.machines.items() if machine.site == site}
    assert set(config["attach_targets"]) <= mine
    assert set(config["power_targets"]) <= mine
    assert config["listen"] == {"address": "127.0.0.1", "port": 9445}


def test_a_fabric_switches_protected_machines_and_feeds_master_targets(embedded: Topology) -> None:
    primary = fabric_config(embedded, "primary", 1, "/identity", {})
    recovery = fabric_config(embedded, "recovery", 1, "/identity", {})
    assert sorted(primary["power_targets"]) == ["app1", "app2"]
    assert sorted(primary["attach_targets"]) == ["app1", "app2", "ps1"]
    assert recovery["power_targets"] == []
    assert recovery["attach_targets"] == ["mt1"]
    assert fabric_config(embedded, "nowhere", 1, "/identity", {})["attach_targets"] == []


def test_servers_find_the_configuration_server(embedded: Topology) -> None:
    assert management_endpoint(embedded, "mt1") == {"address": "127.0.0.1", "port": 443}
    assert management_endpoint(embedded, "ps1") == {"address": "10.30.0.31", "port": 443}
    config = server_config(embedded, Role.PROCESS_SERVER, "ps1", 9443)
    assert config["configuration_server"] == management_endpoint(embedded, "ps1")
    assert config["addresses"] == ["10.10.0.21", "10.30.0.21", "127.0.0.1"]
    assert (config["kind"], config["data_port"]) == ("process-server", 9443)


def test_the_agent_protects_every_disk_but_its_change_log(embedded: Topology) -> None:
    settings = mobility_settings(embedded, "app1")
    assert [(disk["index"], disk["serial"]) for disk in settings["disks"]] == [(0, "system"), (1, "data")]
    assert settings["change_log"] == {"serial": "changes"}


def renamed(topology: Topology, disks: tuple[Disk, ...]) -> Topology:
    app1 = topology.machines["app1"].model_copy(update={"disks": disks})
    return topology.model_copy(update={"machines": {**topology.machines, "app1": app1}})


def test_agent_and_hypervisor_agree_on_serials_of_long_names(embedded: Topology) -> None:
    disks = tuple(
        disk.model_copy(update={"name": f"{disk.name}-of-a-machine-with-long-names"})
        for disk in embedded.machines["app1"].disks
    )
    topology = renamed(embedded, disks)
    settings = mobility_settings(topology, "app1")
    told = [*(disk["serial"] for disk in settings["disks"]), settings["change_log"]["serial"]]
    assert told == [attachment.serial for attachment in blueprint(topology, "app1").spec.disks]


def test_a_protected_machine_without_change_log_is_the_users_error(embedded: Topology) -> None:
    topology = renamed(embedded, embedded.machines["app1"].disks[:2])
    with pytest.raises(BadInput, match="app1 needs a disk of purpose 'change-log'"):
        mobility_settings(topology, "app1")


def test_the_capacity_of_a_master_target_arrives(edited: Edited) -> None:
    assert configuration_server_config(edited((GENERATED, GENERATED)), {})["replica_disks"] == {}
    stated = edited((GENERATED, f"{GENERATED}\n  master_targets: {{mt1: {{replica_disks: 5}}}}"))
    assert configuration_server_config(stated, {})["replica_disks"] == {"mt1": 5}


def test_a_console_may_be_where_only_the_servers_site_is(embedded: Topology) -> None:
    assert configuration_server_config(embedded, {})["site_networks"] == ["10.20.0.0/24"], "the WAN is of both sites"
    config = console_config(embedded, "mt1")
    assert config["configuration_server"] == {"address": "127.0.0.1", "port": 443}
    assert ServiceConfig.from_json(config).component_id == "console-mt1"


def test_configurations_are_json_without_secrets(edited: Edited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_WORD", WORD)
    topology = edited((GENERATED, "pairing_passphrase: {env: LAB_WORD}"))
    assert pairing_passphrase(topology) == WORD
    written = json.dumps(
        [
            configuration_server_config(topology, {"primary": 1, "recovery": 2}),
            server_config(topology, Role.MASTER_TARGET, "mt1", 9444),
            mobility_settings(topology, "app1"),
            fabric_config(topology, "primary", 1, "/identity", {}),
        ]
    )
    assert WORD not in written
    assert WORD not in repr(topology)
    assert WORD not in topology.model_dump_json()


def test_a_passphrase_in_a_file_is_read_beside_the_topology(edited: Edited, tmp_path: Path) -> None:
    (tmp_path / "word").write_text(f"{WORD}\n")
    topology = edited((GENERATED, "pairing_passphrase: {file: word}"))
    assert pairing_passphrase(topology) == WORD
    assert WORD not in repr(topology)


def test_a_generated_passphrase_is_long_and_new_each_time(embedded: Topology) -> None:
    assert pairing_passphrase(embedded) != pairing_passphrase(embedded)
    assert len(pairing_passphrase(embedded)) >= 32


@pytest.mark.parametrize(
    ("reference", "message"),
    [("{env: LAB_NO_SUCH_WORD}", "LAB_NO_SUCH_WORD is not set"), ("{file: missing}", "cannot be read")],
)
def test_a_reference_that_leads_nowhere_is_the_users_error(edited: Edited, reference: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        pairing_passphrase(edited((GENERATED, f"pairing_passphrase: {reference}")))


@pytest.mark.parametrize(("content", "message"), [(b" \n", "is empty"), (WORD.encode() + b"\xff", "not UTF-8")])
def test_a_useless_passphrase_file_is_the_users_error_and_not_shown(
    edited: Edited, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "word").write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        pairing_passphrase(edited((GENERATED, "pairing_passphrase: {file: word}")))
    shown = "".join(traceback.format_exception(caught.value))
    assert WORD not in shown
    assert "0xff" not in shown


def test_a_blank_variable_is_no_passphrase(edited: Edited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_WORD", "  ")
    with pytest.raises(BadInput, match="LAB_WORD is not set, or empty"):
        pairing_passphrase(edited((GENERATED, "pairing_passphrase: {env: LAB_WORD}")))


def test_a_passphrase_in_the_topology_itself_is_refused_and_not_repeated(edited: Edited) -> None:
    with pytest.raises(BadInput, match="by reference") as caught:
        edited((GENERATED, f"pairing_passphrase: {WORD}"))
    assert WORD not in str(caught.value)
