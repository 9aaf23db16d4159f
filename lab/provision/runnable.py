"""Whether this machine can hold a lab, asked before anything is touched."""

from __future__ import annotations

from pathlib import Path

from lab.doctor.facts import gather
from lab.errors import LabError
from lab.topology.facts import Facts
from lab.topology.model import Topology
from lab.topology.plan import make_plan


def facts_for(topology: Topology, home: Path) -> Facts:
    """Return what is true of this machine and of the hosts that the topology names."""
    return gather(home, topology.libvirt_uris)


def refuse_unrunnable(topology: Topology, facts: Facts) -> None:
    """Raise LabError with everything that is missing, each with its cure."""
    plan = make_plan(topology, facts)
    if not plan.runnable:
        lacks = "\n".join(f"missing: {lack.what}\n    {lack.cure}" for lack in plan.lacks)
        raise LabError(f"this machine cannot run {topology.source}:\n{lacks}", hint="lab doctor")
