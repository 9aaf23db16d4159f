"""The clone that a failover is compared with: as its source, and where it meets nobody."""

from pathlib import Path

import pytest

from lab.bench.failover import clone_spec, isolated_network
from lab.errors import BadInput
from lab.provision.blueprint import blueprint
from lab.topology.load import load_topology

TOPOLOGIES = Path(__file__).parents[2] / "topologies"


def test_a_clone_is_its_source_on_another_network_with_other_disks() -> None:
    topology = load_topology(TOPOLOGIES / "embedded.yaml")
    source, clone = blueprint(topology, "app1").spec, clone_spec(topology, "app1")
    assert (clone.cpus, clone.memory_mib, clone.management) == (source.cpus, source.memory_mib, source.management)
    assert [each.serial for each in clone.disks] == [each.serial for each in source.disks]
    assert not {each.disk for each in clone.disks} & {each.disk for each in source.disks}
    assert [nic.mac for nic in clone.nics] == [nic.mac for nic in source.nics]
    assert {nic.network for nic in clone.nics} == {"bubble"}


def test_without_a_network_of_its_own_there_is_no_clone(tmp_path: Path) -> None:
    text = (TOPOLOGIES / "embedded.yaml").read_text().replace(", isolated: true", "")
    path = tmp_path / "lab.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match="isolated"):
        isolated_network(load_topology(path))
