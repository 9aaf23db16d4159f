"""Rows about the harness itself, with few machines and tests: what is measured is not what is tested here."""

from pathlib import Path

import pytest

from lab.bench import harness
from lab.bench.large import large_topology
from lab.bench.simulated import simulate
from lab.errors import BadInput, LabError
from lab.topology.load import load_topology


@pytest.mark.parametrize("machines", [3, 300])
def test_a_large_topology_has_as_many_machines_all_of_them_protected(tmp_path: Path, machines: int) -> None:
    path = tmp_path / "large.yaml"
    path.write_text(large_topology(machines))
    topology = load_topology(path)
    assert len(topology.machines) == machines
    assert len(topology.stack.protect) == machines - 2


@pytest.mark.parametrize("machines", [0, 2, 60_001])
def test_a_size_without_addresses_is_refused(machines: int) -> None:
    with pytest.raises(BadInput, match="machines, not"):
        large_topology(machines)


def test_machines_that_are_only_remembered_run(tmp_path: Path) -> None:
    assert simulate(30, tmp_path) > 0


def test_a_plan_without_the_last_machine_is_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "MANY", 200)
    path = tmp_path / "large.yaml"
    path.write_text(large_topology(200))
    elapsed, processors = harness._planned(path)
    assert elapsed > 0 < processors
    path.write_text(large_topology(199))
    with pytest.raises(LabError, match="lacks the last one"):
        harness._planned(path)


def test_tests_that_are_not_collected_are_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "MANY", 40)
    monkeypatch.setattr(harness, "FILES", 2)
    harness.write_tests(tmp_path)
    elapsed, processors = harness._collected(tmp_path)
    assert elapsed > 0 < processors
    (tmp_path / "test_1.py").write_text("def test_alone(): ...\n")
    with pytest.raises(LabError, match="21 tests were collected and not 40"):
        harness._collected(tmp_path)


def test_a_cost_that_grows_with_the_lab_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "SIZES", (10, 100))
    monkeypatch.setattr(harness, "simulate", lambda machines, _: machines * 1e-4)
    assert harness.cost_per_machine(1)[0].met
    monkeypatch.setattr(harness, "simulate", lambda machines, _: machines**2 * 1e-4)
    (row,) = harness.cost_per_machine(1)
    assert (row.met, round(row.ratio, 3)) == (False, 10.0)


def test_the_memory_is_that_of_a_process_with_the_whole_harness_and_not_of_its_parent() -> None:
    mine = bytes(300 << 20)
    del mine
    assert 50 < harness._simulated(10)["peak_mib"] < 250
