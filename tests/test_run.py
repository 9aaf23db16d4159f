"""A run never touches a lab that it did not bring up."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

import lab.run
from lab.errors import LabError
from lab.hypervisors.libvirt.xml import domain_name
from lab.ledger import EventKind, Ledger, read_ledger
from lab.measure.memory import is_machine
from lab.provision.home import Home
from lab.provision.state import LabState, Phase, WentOn, save_state
from lab.run import Keep, memory_of, record_origin, run_topology

TOPOLOGY = Path(__file__).resolve().parents[1] / "topologies/embedded.yaml"


def test_a_lab_that_is_up_is_refused_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOVERY_LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(lab.run, "refuse_unrunnable", lambda _topology, _facts: None)
    torn_down: list[str] = []
    monkeypatch.setattr(lab.run, "tear_down", lambda _home, name, _board: torn_down.append(name))
    folder = Home.default().lab("embedded")
    folder.make()
    state = LabState(
        lab="embedded",
        topology=TOPOLOGY,
        topology_digest="",
        host_uris=("qemu:///system",),
        acceleration="tcg",
        phase=Phase.UP,
        host_keys={},
    )
    save_state(folder, state)
    out = tmp_path / "out"
    with pytest.raises(LabError, match="up already"):
        run_topology(TOPOLOGY, name=None, keep=Keep.NEVER, out=out, pytest_arguments=[], terminal=Console())
    assert not torn_down
    assert folder.state.exists()
    assert not out.exists()


def test_the_memory_of_a_run_is_also_that_of_its_machines(tmp_path: Path) -> None:
    folder = Home(tmp_path).lab("shop")
    command = f"/usr/bin/qemu-system-x86_64\0-name\0guest={domain_name(folder.tag, 'app1')},debug-threads=on\0"
    assert is_machine(command.encode(), memory_of(folder).mark)


@pytest.mark.parametrize(
    ("went_on", "origin"),
    [
        (None, "booted for this run"),
        (
            WentOn(key="abc", taken_ns=1_700_000_000 * 10**9),
            "went on from saved lab abc, taken 2023-11-14 22:13:20 UTC",
        ),
        (
            WentOn(key="abc", taken_ns=1_700_000_000 * 10**9, renewed="d" * 64),
            (
                "went on from saved lab abc, taken 2023-11-14 22:13:20 UTC; "
                "this build of the stack was installed over dddddddddddd"
            ),
        ),
    ],
)
def test_a_run_says_where_its_machines_come_from(tmp_path: Path, went_on: WentOn | None, origin: str) -> None:
    state = LabState(
        lab="embedded",
        topology=TOPOLOGY,
        topology_digest="",
        host_uris=(),
        acceleration="tcg",
        phase=Phase.UP,
        host_keys={},
        went_on=went_on,
    )
    ledger = Ledger(tmp_path / "ledger.jsonl")
    record_origin(ledger, state)
    (event,) = read_ledger(ledger.path)
    assert (event.kind, event.data) == (EventKind.ENVIRONMENT, {"machines": origin})
