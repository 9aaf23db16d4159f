"""The row ``failover``: the clone that a failover is compared with, and that nothing of it stays."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from lab.bench import failover as row
from lab.bench import on_machines as bench
from lab.bench.failover import clone_spec, steps_told
from lab.errors import BadInput, LabError
from lab.hypervisors.memory import MemoryHypervisor
from lab.hypervisors.model import DiskId
from lab.provision.blueprint import blueprint
from lab.provision.home import Home
from lab.topology.load import load_topology
from lab.topology.model import Topology
from lab.topology.naming import mac_for

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
SECOND = 10**9


@pytest.fixture(scope="module")
def topology() -> Topology:
    return load_topology(TOPOLOGIES / "embedded.yaml")


def test_a_clone_is_its_source_with_the_cards_of_a_test_copy_and_other_disks(topology: Topology) -> None:
    source, clone = blueprint(topology, "app1").spec, clone_spec(topology, "app1")
    assert (clone.cpus, clone.memory_mib, clone.management) == (source.cpus, source.memory_mib, source.management)
    assert [each.serial for each in clone.disks] == [each.serial for each in source.disks]
    assert not {each.disk for each in clone.disks} & {each.disk for each in source.disks}
    assert [nic.network for nic in clone.nics] == ["bubble"]
    assert [nic.mac for nic in clone.nics] == [mac_for("embedded", "app1", "test-bubble")]


def test_without_a_network_for_test_copies_there_is_no_clone(tmp_path: Path) -> None:
    text = (TOPOLOGIES / "embedded.yaml").read_text()
    lines = [line for line in text.splitlines() if "test_interfaces" not in line and "network: bubble" not in line]
    path = tmp_path / "lab.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(BadInput, match="app1 needs test_interfaces"):
        clone_spec(load_topology(path), "app1")


class Exporting(MemoryHypervisor):
    """Disks are only remembered, so a file of the same size is what can be exported."""

    def __init__(self) -> None:
        super().__init__()
        self.exported: list[DiskId] = []

    def export_disk(self, disk: DiskId, target: Path) -> None:
        self.exported.append(disk)
        with target.open("wb") as file:
            file.truncate(self.disk(disk).size_bytes)


@dataclass
class RememberedLab:
    """As much of a lab as a clone needs."""

    topology: Topology
    hypervisor: Exporting
    folder: Any
    forgotten: list[str] = field(default_factory=list)

    def machine(self, name: str, *, identity_of: str) -> Any:
        return SimpleNamespace(name=name, identity_of=identity_of)

    def forget(self, name: str) -> None:
        self.forgotten.append(name)


@pytest.fixture
def lab(topology: Topology, tmp_path: Path) -> RememberedLab:
    host = Exporting()
    drawn = blueprint(topology, "app1")
    for disk, size in drawn.disk_sizes.items():
        host.create_disk(disk, size)
    host.define(drawn.spec)
    return RememberedLab(topology, host, SimpleNamespace(path=tmp_path))


def objects(lab: RememberedLab) -> tuple[set[str], set[str]]:
    return {each.name for each in lab.hypervisor.machines()}, {each.id.name for each in lab.hypervisor.disks()}


def test_what_is_replicated_is_copied_and_the_change_log_is_empty(lab: RememberedLab) -> None:
    with row._clone(lab, "app1") as clone:
        assert (clone.name, clone.identity_of) == ("app1-clone", "app1")
        assert [disk.name for disk in lab.hypervisor.exported] == ["app1-system", "app1-data"]
        sizes = {each.id.name: each.size_bytes for each in lab.hypervisor.disks()}
        assert all(sizes[f"clone-app1-{name}"] == sizes[f"app1-{name}"] for name in ("system", "data", "changes"))


def test_nothing_of_a_clone_stays_also_after_a_failure(lab: RememberedLab, tmp_path: Path) -> None:
    before = objects(lab)
    with pytest.raises(RuntimeError), row._clone(lab, "app1"):  # noqa: PT012
        lab.hypervisor.power_on("app1-clone")
        raise RuntimeError
    assert objects(lab) == before
    assert lab.forgotten == ["app1-clone"]
    assert not list(tmp_path.iterdir())


def test_a_clone_whose_disks_could_not_be_copied_leaves_nothing(
    lab: RememberedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = objects(lab)

    def full(disk: DiskId, size_bytes: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(lab.hypervisor, "create_disk", full)
    with pytest.raises(OSError, match="no space"), row._clone(lab, "app1"):
        pass
    assert objects(lab) == before


def test_a_clone_is_measured_before_and_after_the_failover_and_gone_in_between(
    lab: RememberedLab, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(row, "_install", lambda ssh, folder: told.append(f"application in {folder}"))
    monkeypatch.setattr(row, "_point_with_everything", lambda stack, lab, name: told.append("point"))
    taken = iter([30.0, 24.0, 10.0])
    monkeypatch.setattr(row, "_answered", lambda machine, begin: told.append(f"{machine.name} answers") or next(taken))
    source = SimpleNamespace(name="app1", ssh=None, power_off=lambda: told.append("source off"))
    machines = {
        "app1": source,
        "app1-clone": SimpleNamespace(name="app1-clone", power_on=lambda: told.append("clone on")),
    }
    replica = SimpleNamespace(name="app1-replica")
    monkeypatch.setattr(lab, "machine", lambda name, identity_of=None: machines.get(name, replica))
    job = SimpleNamespace(steps=())
    stack = SimpleNamespace(
        run=lambda *words: told.append(f"{words[1]}, clone there: {'app1-clone' in objects(lab)[0]}") or job
    )
    board = SimpleNamespace(step=lambda subject, step: None)
    assert row._turn(stack, lab, "app1", board) == (24.0, 20.0)
    assert told == [
        "application in /data",
        "point",
        "source off",
        "clone on",
        "app1-clone answers",
        "failover, clone there: False",
        "app1-replica answers",
        "clone on",
        "app1-clone answers",
    ]


def test_the_steps_of_the_failover_are_told() -> None:
    steps = (
        SimpleNamespace(name="drain", started_ns=SECOND, ended_ns=3 * SECOND),
        SimpleNamespace(name="start", started_ns=3 * SECOND, ended_ns=None),
    )
    assert steps_told(SimpleNamespace(steps=steps)) == "drain 2.0, start 0.0"


def test_a_failure_in_mid_row_takes_the_lab_down(
    topology: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    lab = SimpleNamespace(close=lambda: told.append("closed"))

    def breaks(*words: object) -> None:
        raise LabError("the replica never answered")

    monkeypatch.setenv("RECOVERY_LAB_HOME", str(tmp_path))
    monkeypatch.setattr(bench, "leased", lambda home, name: nullcontext())
    monkeypatch.setattr(bench, "make_ready", lambda *words, **more: told.append("up") or lab)
    monkeypatch.setattr(bench, "deployed_and_saved", lambda *words: nullcontext())
    monkeypatch.setattr(bench, "tear_down", lambda home, name, board: told.append(f"{name} down"))
    monkeypatch.setattr(row, "failover", breaks)
    with pytest.raises(LabError, match="never answered"):
        bench.measure(topology, frozenset({row.NAME}), 1, Console(quiet=True), lambda rows: None)
    assert Home.default().folder == tmp_path
    assert told == ["bench down", "up", "closed", "bench down"]
