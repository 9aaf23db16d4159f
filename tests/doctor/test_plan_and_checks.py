import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.doctor.checks import Grade, healthy, judge
from lab.doctor.facts import gather
from lab.topology.facts import Acceleration, AccelerationFact, Facts, LibvirtFact
from lab.topology.load import load_topology
from lab.topology.plan import make_plan

TOPOLOGY = load_topology(Path(__file__).parents[2] / "topologies" / "embedded.yaml")
GIB = 2**30
GOOD = Facts(
    cores=4,
    memory_bytes=16 * GIB,
    memory_available_bytes=12 * GIB,
    disk_path="/lab",
    disk_free_bytes=100 * GIB,
    acceleration=AccelerationFact(Acceleration.KVM, proved=True, reason="a kernel booted under KVM"),
    libvirt=(LibvirtFact("qemu:///system", reachable=True, detail="9.0.0"),),
    missing_tools=frozenset(),
    systemd=True,
    root=True,
)
DOWN = (LibvirtFact("qemu:///system", reachable=False, detail="refused"),)


def test_a_good_machine_lacks_nothing() -> None:
    plan = make_plan(TOPOLOGY, GOOD)
    assert plan.runnable
    assert healthy(judge(GOOD))
    assert {check.grade for check in judge(GOOD)} == {Grade.OK}


def test_the_plan_lists_every_object() -> None:
    plan = make_plan(TOPOLOGY, GOOD)
    assert [machine.name for machine in plan.machines] == ["app1", "app2", "ps1", "mt1"]
    assert [machine.name for machine in plan.replicas] == ["app1-replica", "app2-replica"]
    assert [machine.name for machine in plan.test_copies] == ["app1-test", "app2-test"]
    assert {network.name for network in plan.networks} == set(TOPOLOGY.networks)
    assert [forward.machine for forward in plan.port_forwards] == ["app1", "app2", "ps1", "mt1"]
    assert plan.namespaces == ("recovery-lab-embedded-*",)
    assert plan.memory_bytes == (2 * 384 + 2 * 512 + 2 * 384) * 2**20
    assert "change-log" not in {disk.purpose for machine in plan.replicas for disk in machine.disks}
    assert len({i.mac for m in (*plan.machines, *plan.replicas, *plan.test_copies) for i in m.interfaces}) == 14


@pytest.mark.parametrize(
    ("change", "what", "cure"),
    [
        ({"libvirt": DOWN}, "libvirt does not answer", "systemctl start libvirtd"),
        ({"libvirt": DOWN, "systemd": False}, "libvirt does not answer", "libvirtd -d && virtlogd -d"),
        ({"missing_tools": frozenset({"mmdebstrap"})}, "mmdebstrap is not", "apt-get install"),
        ({"memory_available_bytes": GIB}, "memory: ", "lab down"),
        ({"disk_free_bytes": GIB}, "disk: ", "free space"),
    ],
)
def test_what_is_missing_comes_with_its_cure(change: dict[str, object], what: str, cure: str) -> None:
    facts = dataclasses.replace(GOOD, **change)
    (lack,) = make_plan(TOPOLOGY, facts).lacks
    assert what in lack.what
    assert cure in lack.cure
    assert {check.grade for check in judge(facts)} > {Grade.OK}


@given(memory=st.integers(0, 64 * GIB), disk=st.integers(0, 500 * GIB), cores=st.integers(1, 64))
def test_more_never_lacks_more(memory: int, disk: int, cores: int) -> None:
    small = dataclasses.replace(GOOD, memory_available_bytes=memory, disk_free_bytes=disk, cores=cores)
    large = dataclasses.replace(small, memory_available_bytes=memory + GIB, disk_free_bytes=disk + GIB)
    assert len(make_plan(TOPOLOGY, large).lacks) <= len(make_plan(TOPOLOGY, small).lacks)


def test_tcg_says_whether_it_is_proved() -> None:
    for proved, words in ((False, "until proved"), (True, "slow")):
        fact = AccelerationFact(Acceleration.TCG, proved=proved, reason="why")
        checks = judge(dataclasses.replace(GOOD, acceleration=fact))
        assert any(words in check.detail and check.cure for check in checks)
        assert healthy(checks)


def test_gathering_works_on_any_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.doctor.facts.assess", lambda *_: GOOD.acceleration)
    facts = gather(tmp_path / "not" / "yet", uris=("test:///default", "nonsense:///"))
    assert facts.cores >= 1
    assert facts.disk_path == str(tmp_path)
    assert facts.reaches("test:///default")
    assert not facts.reaches("nonsense:///")


def test_one_libvirt_that_answers_is_enough() -> None:
    away = LibvirtFact("qemu:///system", reachable=False, detail="no such socket")
    session = LibvirtFact("qemu:///session", reachable=True, detail="9.0.0")
    assert not healthy(judge(dataclasses.replace(GOOD, libvirt=(away,))))
    assert healthy(judge(dataclasses.replace(GOOD, libvirt=(away, session))))
