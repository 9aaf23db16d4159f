"""Machines that are installed over a network, in a topology: who else may be on it, and what is missing here."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_hosts import FACTS, TOPOLOGIES

from lab.errors import BadInput
from lab.topology.load import load_topology
from lab.topology.plan import make_plan

PXE = TOPOLOGIES / "physical-pxe.yaml"


def test_the_machine_is_behind_a_bmc_and_not_lent() -> None:
    topology = load_topology(PXE)
    assert topology.booted_over == {"app1": "provisioning"}
    assert topology.physical == ("app1",)
    assert topology.lent == {}


def over(network: str) -> Any:
    return lambda document: document["machines"]["app1"]["provision"].update(network=network)


def join(machine: str, address: str) -> Any:
    return lambda document: document["machines"][machine]["interfaces"].append(
        {"network": "provisioning", "address": address}
    )


def last_address(document: Any) -> None:
    document["machines"]["app1"]["interfaces"][-1]["address"] = "10.40.0.254"


def without_bmc(document: Any) -> None:
    del document["machines"]["app1"]["bmc"]


def replica_there(document: Any) -> None:
    document["machines"]["app1"]["replica"]["test_interfaces"] = [{"network": "provisioning", "address": "10.40.0.12"}]


def with_uplink(document: Any) -> None:
    document["networks"]["provisioning"]["uplink"] = "eth9"


def without_root(document: Any) -> None:
    document["hosts"]["local"]["uri"] = "qemu:///session"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (over("provisionin"), "did you mean 'provisioning'"),
        (over("management"), "has to be a switch without an 'uplink'"),
        (with_uplink, "has to be a switch without an 'uplink'"),
        (over("recovery"), "app1 needs a card with an address on 'recovery'"),
        (over("primary"), "all1 is on 'primary' too"),
        (join("all1", "10.40.0.12"), "all1 is on 'provisioning' too"),
        (replica_there, "app1 is on 'provisioning' too"),
        (last_address, "10.40.0.254 is for the lab's boot server"),
        (without_bmc, "it needs a 'bmc'"),
        (without_root, "has to have the uri qemu:///system"),
    ],
)
def test_a_network_that_would_reach_others_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    document = yaml.safe_load(PXE.read_text())
    change(document)
    path = tmp_path / "pxe.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(BadInput, match=message):
        load_topology(path)


def test_a_way_of_provision_that_does_not_exist_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "pxe.yaml"
    path.write_text(PXE.read_text().replace("kind: network-boot", "kind: network-bot"))
    with pytest.raises(BadInput, match=r"pxe\.yaml:\d+: machines\.app1\.provision: .*did you mean 'network-boot'"):
        load_topology(path)


def test_only_a_plan_with_such_a_machine_lacks_its_packages() -> None:
    missing = {"dnsmasq", "/usr/lib/ipxe/undionly.kpxe", "/usr/lib/ipxe/qemu/efi-virtio.rom"}
    facts = replace(FACTS, missing_tools=frozenset(missing))
    lacks = {lack.what: lack.cure for lack in make_plan(load_topology(PXE), facts).lacks}
    for tool, package in zip(sorted(missing, reverse=True), ("dnsmasq-base", "ipxe", "ipxe-qemu"), strict=True):
        assert lacks[f"{tool} is not installed"].endswith(f" {package}")
    others = make_plan(load_topology(TOPOLOGIES / "physical-bmc.yaml"), facts).lacks
    assert not any("not installed" in lack.what for lack in others)
