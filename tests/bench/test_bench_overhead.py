"""The rows ``overhead``: what fio is asked and says, what is compared, and that the lab is taken down."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.bench import overhead as row
from lab.bench.fio import FILE_MIB, JOBS, RANDOM, SEQUENTIAL, command, rate_of, rows
from lab.errors import BadInput, LabError
from lab.images.recipe import load_recipe
from lab.stacks.machines import MachineState, Operation
from lab.topology.load import load_topology

EMBEDDED = Path(__file__).parents[2] / "topologies" / "embedded.yaml"


def said(iops: float = 250.0, bw_bytes: int = 64_000_000, error: int = 0) -> str:
    jobs = [{"jobname": "random", "error": error, "write": {"iops": iops, "bw_bytes": bw_bytes}}]
    return f"note: something\n{json.dumps({'fio version': 'fio-3.33', 'jobs': jobs})}"


def test_the_jobs_are_synchronous_and_small_enough_for_a_change_log() -> None:
    random, sequential = command(RANDOM, "/data/x"), command(SEQUENTIAL, "/data/x")
    assert {"--rw=randwrite", "--bs=4k", "--sync=1", "--direct=1", "--filename=/data/x"} <= set(random)
    assert {"--rw=write", "--bs=1M", "--direct=1"} <= set(sequential)
    sizes = [
        int(word.removeprefix("--io_size=")[:-1]) for words in JOBS.values() for word in words if "io_size" in word
    ]
    assert sum(sizes) <= FILE_MIB


def test_rates_are_writes_a_second_and_millions_of_bytes_a_second() -> None:
    assert rate_of(RANDOM, said()) == 250
    assert rate_of(SEQUENTIAL, said()) == 64


@pytest.mark.parametrize("output", ["", "fio: no such file", "{}", '{"jobs": []}', '{"jobs": [{"error": 0}]}'])
def test_what_is_no_result_is_said(output: str) -> None:
    with pytest.raises(LabError, match="fio random said"):
        rate_of(RANDOM, output)


def test_a_job_that_failed_is_no_result() -> None:
    with pytest.raises(LabError, match="ended with error 28"):
        rate_of(RANDOM, said(error=28))


def found(random: float, sequential: float) -> dict[str, float]:
    return {RANDOM: random, SEQUENTIAL: sequential}


def test_protected_is_compared_with_what_was_before_and_after() -> None:
    first, again, second, _ = rows(
        [found(100, 10), found(110, 10)], [found(80, 9), found(60, 9)], [found(60, 10), found(90, 10)]
    )
    assert (first.name, first.unit, first.ours, first.peer) == ("overhead-random", "1/s", 70, 90)
    assert first.ratio == 70 / 90
    assert (first.goal, first.met, first.limit, first.n) == (None, None, None, 2)
    assert first.spread == pytest.approx(1.0 - 0.6)
    assert (again.name, again.ours, again.peer) == ("overhead-random-again", 75, 105)
    assert (second.name, second.unit, second.ratio) == ("overhead-sequential", "MB/s", 0.9)


def test_a_steady_drift_is_not_taken_for_overhead() -> None:
    compared, again, *_ = rows([found(120, 1)], [found(100, 1)], [found(80, 1)])
    assert compared.ratio == 1
    assert again.ratio == pytest.approx(2 / 3)


def test_one_machine_has_the_image_with_fio_and_the_rest_is_as_it_was() -> None:
    topology = load_topology(EMBEDDED)
    before = topology.digest
    assert row.measured_machine(topology) == "app2"
    equipped = row.with_fio(topology, "app2")
    assert equipped.images[equipped.machines["app2"].image].recipe == row.RECIPE
    assert "fio" in load_recipe(row.RECIPE).packages
    others = set(topology.machines) - {"app2"}
    assert all(equipped.machines[name] == topology.machines[name] for name in others)
    assert equipped.machines["app2"].disks == topology.machines["app2"].disks
    assert (equipped.source, equipped.stack, equipped.networks) == (topology.source, topology.stack, topology.networks)
    assert equipped.digest != before == topology.digest


def test_a_topology_without_an_agent_is_refused_before_anything_is_made() -> None:
    topology = load_topology(EMBEDDED.with_name("drbd.yaml"))
    with pytest.raises(BadInput, match="no machine is protected"):
        row.overhead(topology, SimpleNamespace(), SimpleNamespace(), 1)


class Machine:
    """A machine whose fio says what is told to it, and the stack that protects it."""

    def __init__(self, state: MachineState = MachineState.PROTECTED, *, resynchronising: bool = False) -> None:
        self.told: list[str] = []
        self.machine_name = "app2"
        self._status = SimpleNamespace(state=state, resynchronising=resynchronising)

    @property
    def ssh(self) -> Any:
        return SimpleNamespace(machine="app2", check=self._check)

    def _check(self, *words: str, seconds: float = 0) -> str:
        if words[0] == "date":
            return "7"
        self.told.append(words[0])
        return said() if words[0] == "fio" else ""

    def run(self, name: str, operation: Operation, deadline: object) -> None:
        self.told.append(operation)

    def set_up(self) -> None:
        self.told.append("set up")

    def wait_state(self, name: str, *states: MachineState, deadline: object) -> None:
        self.told.append(f"wait {states[0]}")

    def wait_recovery_point(self, name: str, after_ns: int, deadline: object) -> None:
        self.told.append(f"point after {after_ns}")

    def machine(self, name: str) -> Any:
        return self._status


@contextmanager
def nothing_but_fio(machine: Machine, patch: pytest.MonkeyPatch):
    patch.setattr(row, "protect", lambda stack, lab, name, board: machine.told.append("protect"))
    patch.setattr(row, "take_off", lambda ssh: machine.told.append("take off"))
    patch.setattr(row, "wait_started", lambda ssh: None)
    yield SimpleNamespace(topology=load_topology(EMBEDDED), machine=lambda name: machine)


BOARD = SimpleNamespace(step=lambda subject, step: None)


def test_fio_runs_before_under_and_after_protection(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    with nothing_but_fio(machine, monkeypatch) as lab:
        measured = row.measure(machine, lab, "app2", BOARD, 1)
    assert [each.ratio for each in measured] == [1, 1, 1, 1]
    fio = ["fio"] * len(JOBS)
    ended = ["disable", "wait unprotected", "take off"]
    assert machine.told == ["set up", "dd", *fio, "protect", *fio, "point after 7", *ended, *fio]


@pytest.mark.parametrize(
    "machine", [Machine(resynchronising=True), Machine(MachineState.ENABLING_FAILED)], ids=["resynchronising", "failed"]
)
def test_replication_that_did_not_follow_gives_no_row(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with nothing_but_fio(machine, monkeypatch) as lab, pytest.raises(LabError, match="not replication that follows"):
        row.measure(machine, lab, "app2", BOARD, 1)


def test_the_lab_is_taken_down_also_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    lab = SimpleNamespace(close=lambda: told.append("closed"))
    monkeypatch.setattr(row, "tear_down", lambda home, name, board: told.append(f"{name} down"))
    monkeypatch.setattr(row, "make_ready", lambda topology, home, name, board, fresh: told.append(f"{name} up") or lab)

    @contextmanager
    def broken(lab: Any, board: Any):
        raise LabError("the stack cannot be installed")
        yield

    monkeypatch.setattr(row, "deployed", broken)
    with pytest.raises(LabError, match="cannot be installed"):
        row.overhead(load_topology(EMBEDDED), SimpleNamespace(), BOARD, 1)
    assert told == ["bench down", "bench up", "closed", "bench down"]
