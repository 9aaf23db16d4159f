"""Plan and blueprints cost as much for each machine in a large topology as in a small one: in calls, not seconds."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable
from pathlib import Path

import pytest
from test_hosts import FACTS

from lab.bench.large import large_topology
from lab.provision.blueprint import blueprint
from lab.topology.load import load_topology
from lab.topology.model import Topology
from lab.topology.plan import make_plan
from lab.topology.rules import check


def calls_for(machines: int, folder: Path, work: Callable[[Topology], object]) -> int:
    file = folder / f"{machines}.yaml"
    file.write_text(large_topology(machines), encoding="utf-8")
    topology = load_topology(file)
    profile = cProfile.Profile()
    profile.runcall(work, topology)
    return pstats.Stats(profile).total_calls


def planned(topology: Topology) -> object:
    return make_plan(topology, FACTS)


def judged(topology: Topology) -> object:
    return list(check(topology))


def drawn(topology: Topology) -> object:
    return [blueprint(topology, name) for name in topology.machines]


@pytest.mark.parametrize(("work", "at_most"), [(planned, 70), (judged, 95), (drawn, 160)])
def test_twice_the_machines_are_twice_the_calls(
    tmp_path: Path, work: Callable[[Topology], object], at_most: int
) -> None:
    calls_for(20, tmp_path, work)  # what is made once is made now
    calls = calls_for(400, tmp_path, work)
    assert calls < at_most * 400
    assert calls_for(800, tmp_path, work) < 2.5 * calls
