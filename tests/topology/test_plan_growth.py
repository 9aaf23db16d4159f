"""A plan costs as much for each machine in a large topology as in a small one: counted in calls, not in seconds."""

from __future__ import annotations

import cProfile
import pstats
from pathlib import Path

from lab.bench.large import large_topology
from lab.topology.facts import Acceleration, AccelerationFact, Facts, LibvirtFact
from lab.topology.load import load_topology
from lab.topology.plan import make_plan

FACTS = Facts(
    cores=2,
    memory_bytes=16 << 30,
    memory_available_bytes=12 << 30,
    disk_path="/var/lib/recovery-lab",
    disk_free_bytes=100 << 30,
    acceleration=AccelerationFact(Acceleration.TCG, proved=True, reason="booted"),
    libvirt=(LibvirtFact("qemu:///system", reachable=True, detail="9.0.0"),),
    missing_tools=frozenset(),
    systemd=True,
    root=True,
)


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
