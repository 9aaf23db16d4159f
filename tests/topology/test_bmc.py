"""Machines behind BMCs in a topology."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML
from test_hosts import FACTS, TOPOLOGIES

from lab.errors import BadInput
from lab.topology.load import load_topology
from lab.topology.plan import make_plan

BMC = {
    "endpoint": "https://bmc1.example",
    "user": "admin",
    "password": {"env": "BMC_PASSWORD"},
    "certificate": "bmc1.pem",
}


def written(tmp_path: Path, bmcs: dict[str, dict[str, object]], **machine: object) -> Path:
    yaml = YAML()
    document = yaml.load((TOPOLOGIES / "embedded.yaml").read_text())
    for name, bmc in bmcs.items():
        document["machines"][name].update({"bmc": {**BMC, **bmc}, **machine})
    path = tmp_path / "physical.yaml"
    with path.open("w") as sink:
        yaml.dump(document, sink)
    return path


def test_a_machine_may_have_a_bmc_and_the_plan_says_that_none_is_installed_yet(tmp_path: Path) -> None:
    topology = load_topology(written(tmp_path, {"app1": {"system": "437XR1138R2"}}))
    bmc = topology.machines["app1"].bmc
    assert bmc is not None
    assert (bmc.endpoint, bmc.system, bmc.user) == ("https://bmc1.example", "437XR1138R2", "admin")
    plan = make_plan(topology, FACTS)
    assert not plan.runnable
    assert any("through a BMC: app1" in lack.what for lack in plan.lacks)
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
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path: Path, bmcs, machine, message: str) -> None:
    path = written(tmp_path, bmcs, **machine)
    with pytest.raises(BadInput) as refused:
        load_topology(path)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"{path}:")
    assert "hunter2" not in str(refused.value)
