"""A plan costs as much for each machine in a large topology as in a small one: counted in calls, not in seconds."""

from __future__ import annotations

import cProfile
import pstats
from pathlib import Path

from test_hosts import FACTS

from lab.bench.large import large_topology
from lab.topology.load import load_topology
from lab.topology.plan import make_plan


def calls_for(machines: int, folder: Path) -> int:
    file = folder / f"{machines}.yaml"
    file.write_text(large_topology(machines), encoding="utf-8")
    topology = load_topology(file)
    profile = cProfile.Profile()
    profile.runcall(make_plan, topology, FACTS)
    return pstats.Stats(profile).total_calls


def test_twice_the_machines_are_twice_the_calls(tmp_path: Path) -> None:
    calls_for(20, tmp_path)  # what is made once is made now
    assert calls_for(800, tmp_path) < 2.5 * calls_for(400, tmp_path)
