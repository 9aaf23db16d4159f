"""A lab of machines that are only remembered: what is left is the harness's own time and memory.

``python -m lab.bench.simulated MACHINES`` does it in a process of its own and says what that took, as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from lab.bench.large import large_topology
from lab.garbage import none_looked_for
from lab.hypervisors.memory import MemoryHypervisor
from lab.hypervisors.model import PowerState
from lab.provision.blueprint import blueprint
from lab.provision.home import Home
from lab.provision.lab import Lab
from lab.provision.up import first_state
from lab.topology.facts import Acceleration, AccelerationFact, Facts
from lab.topology.load import load_topology
from lab.topology.plan import make_plan

NANO = 1e9
FACTS = Facts(
    cores=2,
    memory_bytes=1 << 60,
    memory_available_bytes=1 << 60,
    disk_path="/",
    disk_free_bytes=1 << 60,
    acceleration=AccelerationFact(Acceleration.TCG, proved=False, reason="nothing is started"),
    libvirt=(),
    missing_tools=frozenset(),
    systemd=False,
    root=False,
)
"""A computer with room for everything: what is measured is the work, and not what this one lacks."""


def simulate(machines: int, folder: Path) -> float:
    """Return the processor seconds from the file to machines that run, as far as what only remembers runs them."""
    file = folder / "large.yaml"
    file.write_text(large_topology(machines), encoding="utf-8")
    begin = time.process_time()
    # As lab up and lab run do.
    with none_looked_for():
        topology = load_topology(file)
    plan = make_plan(topology, FACTS)
    state = first_state(topology, "large", "tcg", dict.fromkeys(topology.machines, "ssh-ed25519 AAAA"))
    host = MemoryHypervisor()
    lab = Lab(topology, Home(folder).lab("large"), state, host)
    for planned in plan.machines:
        drawn = blueprint(topology, planned.name)
        for disk, size in drawn.disk_sizes.items():
            host.create_disk(disk, size)
        host.define(drawn.spec)
        host.power_on(planned.name)
    running = [name for name in topology.machines if lab.machine(name).running]
    seconds = time.process_time() - begin
    if len(running) != machines or host.power(running[-1]) is not PowerState.ON:
        raise RuntimeError(f"{len(running)} of {machines} machines run")
    return seconds


def main() -> None:
    """Simulate once with the whole harness in memory, tests and reports included, and print what it took."""
    import fixtures.groups
    import fixtures.stacks
    import lab.run
    import reports.plugin

    loaded = [module.__name__ for module in (lab.run, fixtures.groups, fixtures.stacks, reports.plugin)]
    with tempfile.TemporaryDirectory() as folder:
        seconds = simulate(int(sys.argv[1]), Path(folder))
    json.dump({"seconds": seconds, "peak_mib": _peak_mib(), "modules": loaded}, sys.stdout)


def _peak_mib() -> float:
    """Return the most memory that this program had; getrusage would count what its parent had when it was started."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
