"""The rows ``overhead``: what fio is asked and says, what is compared, and that the lab is taken down."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.bench import overhead as row
from lab.bench.asked import Asked, Problems
from lab.bench.fio import FILE_MIB, JOBS, RANDOM, SEQUENTIAL, command, rate_of, rows, rows_beside
from lab.errors import BadInput, LabError
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


def test_what_is_left_under_the_stack_is_set_beside_what_is_left_under_drbd() -> None:
    bare = [found(100, 10)] * 2
    ours = (bare, [found(80, 5), found(60, 5)], bare)
    mirrored = (bare, [found(40, 10), found(60, 10)], bare)
    random, sequential = rows_beside(ours, mirrored)
    assert (random.name, random.unit, random.n) == ("overhead-random-drbd", "of a bare disk", 2)
    assert (random.ours, random.peer) == (pytest.approx(0.7), pytest.approx(0.5))
    assert random.spread == pytest.approx(1.0)
    assert (sequential.ratio, sequential.goal) == (0.5, None)
    assert "not encrypted" in sequential.note


def test_a_topology_without_an_agent_is_refused_before_anything_is_made() -> None:
    topology = load_topology(EMBEDDED.with_name("drbd.yaml"))
    with pytest.raises(BadInput, match="no machine is protected"):
        row.overhead(topology, SimpleNamespace(), asked())


def asked(*names: str) -> Asked:
    return Asked(frozenset(names), 1, lambda rows: None, Problems(BOARD))


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
        measured = rows(*row.measure(machine, lab, "app2", BOARD, 1))
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


def test_drbd_is_measured_on_a_spare_disk_between_two_times_without(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    monkeypatch.setattr(row, "wait_started", lambda ssh: None)
    monkeypatch.setattr(row, "synchronise", lambda mirror: machine.told.append("first copy"))

    @contextmanager
    def there(*words: Any):
        machine.told.append(f"{words[-1]} on")
        yield
        machine.told.append(f"{words[-1]} off")

    monkeypatch.setattr(row, "connected", lambda mirror, protocol: there(f"drbd {protocol}"))
    monkeypatch.setattr(row, "mounted", lambda ssh, device, folder: there(device))
    mirror = SimpleNamespace(source=SimpleNamespace(ssh=machine.ssh), disk="disk", device="drbd0")
    before, mirrored, again = row.measure_mirrored(mirror, BOARD, 1)
    assert before == mirrored == again
    fio = ["fio"] * len(JOBS)
    bare = [*fio, "disk off"]
    assert machine.told == [
        *("mkfs.ext4", "disk on", "dd", *bare),
        *("drbd A on", "first copy", "drbd0 on", *fio, "drbd0 off", "drbd A off"),
        *("disk on", *bare),
    ]


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
        row.overhead(load_topology(EMBEDDED), SimpleNamespace(), asked())
    assert told == ["bench down", "bench up", "closed", "bench down"]
