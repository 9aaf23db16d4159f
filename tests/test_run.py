"""A run never touches a lab that it did not bring up."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

import lab.run
from lab.errors import LabError
from lab.provision.home import Home
from lab.provision.state import LabState, Phase, save_state
from lab.run import Keep, run_topology

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
