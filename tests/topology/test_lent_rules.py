"""Machines that are only lent, in a topology."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from test_hosts import FACTS, TOPOLOGIES

from lab.errors import BadInput
from lab.saved.inputs import why_not
from lab.stacks.reference.components import fabric_config
from lab.stacks.reference.operate import push_install
from lab.topology.load import load_topology
from lab.topology.plan import make_plan


def written(tmp_path: Path, change: Any) -> Path:
    """Write lent.yaml as ``change`` has left it."""
    document = yaml.safe_load((TOPOLOGIES / "lent.yaml").read_text())
    change(document)
    path = tmp_path / "lent.yaml"
    with path.open("w") as sink:
        yaml.safe_dump(document, sink, sort_keys=False)
    return path


def in_machine(**values: Any) -> Any:
    return lambda document: document["machines"]["app1"].update(values)


def in_provision(**values: Any) -> Any:
    return lambda document: document["machines"]["app1"]["provision"].update(values)


def in_networks(name: str, **values: Any) -> Any:
    return lambda document: document["networks"][name].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_machine(host="local"), "app1 is only lent: it has no 'host' here"),
        (in_machine(bmc={"emulated": True}), "app1 is only lent: it has no 'bmc' here"),
        (in_machine(roles=["protected", "console"]), "its only role can be 'protected'"),
        (in_machine(interfaces=[{"network": "management"}]), "the lab gives it no management card"),
        (in_networks("primary", uplink=None), "that network needs an 'uplink' to reach it"),
        (in_networks("recovery", uplink="lent0"), "lent0 is the uplink of primary already"),
        (in_networks("primary", uplink="-x"), "networks.primary"),
        (in_provision(key="hunter2"), "machines.app1.provision.key"),
        (in_provision(host_key="AAAA"), "machines.app1.provision.host_key"),
        (in_provision(user="somebody"), "machines.app1.provision.user"),
        (in_provision(address="-oProxyCommand=x"), "machines.app1.provision.address"),
        (in_provision(kind="new"), "machines.app1.provision: input tag 'new'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path: Path, change: Any, message: str) -> None:
    path = written(tmp_path, change)
    with pytest.raises(BadInput) as refused:
        load_topology(path)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"{path}:")
    assert "hunter2" not in str(refused.value)


def test_a_lent_machine_is_no_business_of_a_fabric_and_is_not_saved() -> None:
    topology = load_topology(TOPOLOGIES / "lent.yaml")
    assert list(topology.lent) == ["app1"]
    config = fabric_config(topology, "primary", 1, "", {})
    assert (config["attach_targets"], config["power_targets"]) == ([], [])
    assert "given back" in (why_not(topology) or "")
    plan = make_plan(topology, FACTS)
    assert plan.lacks == ()
    assert plan.machines[0].host == "lent, at 127.0.0.1:2222"
    counted = {machine.name: machine.memory_bytes for machine in (*plan.machines, *plan.replicas)}
    assert plan.memory_bytes == counted["all1"] + counted["app1-replica"]
    assert push_install(topology, "app1")["address"] == "10.10.0.11"
