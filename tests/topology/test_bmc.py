"""Machines behind BMCs in a topology."""

from pathlib import Path

import pytest
import yaml
from test_hosts import FACTS, TOPOLOGIES

from lab.errors import BadInput
from lab.stacks.reference.components import fabric_config
from lab.topology.load import load_topology
from lab.topology.plan import make_plan

BMC = {
    "endpoint": "https://bmc1.example",
    "user": "admin",
    "password": {"env": "BMC_PASSWORD"},
    "certificate": "bmc1.pem",
}


def written(tmp_path: Path, bmcs: dict[str, dict[str, object]], **machine: object) -> Path:
    """Write a topology in which these machines have a BMC: a real one, unless it is said to be emulated."""
    document = yaml.safe_load((TOPOLOGIES / "physical-bmc.yaml").read_text())
    for name, bmc in bmcs.items():
        base = {} if "emulated" in bmc else BMC
        document["machines"][name].update({"bmc": {**base, **bmc}, **machine})
    path = tmp_path / "physical.yaml"
    with path.open("w") as sink:
        yaml.safe_dump(document, sink, sort_keys=False)
    return path


def test_a_machine_may_have_a_real_bmc_and_the_plan_says_that_it_cannot_be_reached_yet(tmp_path: Path) -> None:
    topology = load_topology(written(tmp_path, {"app1": {"system": "437XR1138R2"}}))
    bmc = topology.machines["app1"].bmc
    assert bmc is not None
    assert (bmc.endpoint, bmc.system, bmc.user) == ("https://bmc1.example", "437XR1138R2", "admin")
    plan = make_plan(topology, FACTS)
    assert not plan.runnable
    assert any("app1 behind a BMC cannot be reached" in lack.what for lack in plan.lacks)
    assert not any("BMC" in lack.what for lack in make_plan(load_topology(TOPOLOGIES / "embedded.yaml"), FACTS).lacks)


def test_two_machines_share_an_endpoint_when_each_names_its_system(tmp_path: Path) -> None:
    load_topology(written(tmp_path, {"app1": {"system": "1"}, "app2": {"system": "2"}}))


@pytest.mark.parametrize(
    ("bmcs", "machine", "message"),
    [
        ({"app1": {"password": "hunter2"}}, {}, "a secret is given by reference"),
        ({"app1": {"password": {"generate": True}}}, {}, "nobody can make it up"),
        ({"app1": {"endpoint": "http://bmc1.example"}}, {}, "machines.app1.bmc.endpoint"),
        ({"app1": {"endpoint": "https://admin@bmc1.example"}}, {}, "machines.app1.bmc.endpoint"),
        ({"app1": {"sistem": "1"}}, {}, "did you mean 'system'"),
        ({"app1": {}, "app2": {"system": "2"}}, {}, "app2 is behind https://bmc1.example too: each needs its 'system'"),
        ({"app1": {"system": "1"}, "app2": {"system": "1"}}, {}, "system '1' there is app1 already"),
        ({"app1": {}}, {"host": "local"}, "it runs on no host"),
        ({"mt1": {}}, {}, "its only role can be 'protected'"),
        ({"app1": {"emulated": True, "endpoint": "https://b"}}, {}, "either 'emulated: true' or an 'endpoint'"),
        ({"app1": {"emulated": False}}, {}, "either 'emulated: true' or an 'endpoint'"),
        ({"app1": {"emulated": True, "user": "x"}}, {}, "an emulated BMC makes these itself: user"),
        ({"app1": {"ipmi": {}}}, {}, "say 'ipmi: {allowed: true}', or leave 'ipmi' out"),
        ({"app1": {"ipmi": {"allowed": False}}}, {}, "a password's hash is given away by IPMI"),
        ({"app1": {"emulated": True, "ipmi": {"allowed": True, "port": 1}}}, {}, "makes these itself: ipmi.port"),
        ({"app1": {"emulated": False, "endpoint": "https://b"}}, {}, "needs 'user', 'password', 'certificate'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path: Path, bmcs, machine, message: str) -> None:
    path = written(tmp_path, bmcs, **machine)
    with pytest.raises(BadInput) as refused:
        load_topology(path)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"{path}:")
    assert "hunter2" not in str(refused.value)


def test_an_emulated_bmc_is_named_as_a_stand_in_and_runs_here() -> None:
    topology = load_topology(TOPOLOGIES / "physical-bmc.yaml")
    assert topology.physical == ("app1",)
    named = [item for item in topology.every_stand_in if item.stands_in_for == "physical server with a BMC"]
    assert [item.machines for item in named] == [("app1",)]
    plan = make_plan(topology, FACTS)
    assert plan.lacks == ()
    replicas = sum(machine.memory_bytes for machine in plan.replicas)
    assert plan.memory_bytes == sum(machine.memory for machine in topology.machines.values()) + replicas
    assert not [item for item in load_topology(TOPOLOGIES / "embedded.yaml").every_stand_in if "BMC" in item.what]


def test_a_physical_machine_is_no_business_of_a_fabric() -> None:
    topology = load_topology(TOPOLOGIES / "physical-bmc.yaml")
    config = fabric_config(topology, "primary", 1, "", {})
    assert (config["attach_targets"], config["power_targets"]) == (["app2"], ["app2"])


def test_what_a_physical_machine_cannot_have_is_refused(tmp_path: Path) -> None:
    document = yaml.safe_load((TOPOLOGIES / "physical-bmc.yaml").read_text())
    document["stack"]["protect"]["app1"]["failback"] = {"process_server": "ps1", "master_target": "ps1"}
    document["images"]["own"] = {"path": "own.qcow2"}
    document["machines"]["app1"]["image"] = "own"
    document["hosts"]["esxi"] = {"kind": "esxi", "emulated": True}
    document["sites"]["primary"]["host"] = "esxi"
    path = tmp_path / "physical.yaml"
    with path.open("w") as sink:
        yaml.safe_dump(document, sink, sort_keys=False)
    with pytest.raises(BadInput) as refused:
        load_topology(path)
    for words in (
        "nothing can plug disks into it",
        "its image has to be one that the lab builds",
        "an emulated BMC needs a site on libvirt, not on 'esxi'",
    ):
        assert words in str(refused.value)


def test_power_by_ipmi_is_asked_for_in_the_topology(tmp_path: Path) -> None:
    emulated = load_topology(written(tmp_path, {"app1": {"emulated": True, "ipmi": {"allowed": True}}}))
    real = load_topology(written(tmp_path, {"app1": {"ipmi": {"allowed": True, "port": 6230}}}))
    for topology in (emulated, real):
        bmc = topology.machines["app1"].bmc
        assert bmc is not None
        assert bmc.ipmi is not None
    assert load_topology(TOPOLOGIES / "physical-bmc.yaml").machines["app1"].bmc.ipmi is None  # type: ignore[union-attr]


def test_a_physical_machine_may_come_back_as_another_one(tmp_path: Path) -> None:
    document = yaml.safe_load((TOPOLOGIES / "physical-to-azure.yaml").read_text())
    document["machines"]["app1"]["bmc"] = {"emulated": True}
    path = tmp_path / "physical.yaml"
    with path.open("w") as sink:
        yaml.safe_dump(document, sink, sort_keys=False)
    assert load_topology(path).physical == ("app1",)
