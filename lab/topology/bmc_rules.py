"""What must be true of machines behind BMCs. Pure: a topology in, findings out."""

from __future__ import annotations

from collections.abc import Iterator

from lab.topology.findings import Finding
from lab.topology.model import Role, Topology

HOLDERS = frozenset({Role.PROTECTED})
"""What a physical machine can be: only what is protected is there already, all else is made by the lab."""


def bmc_findings(topology: Topology) -> Iterator[Finding]:
    """Yield BMCs that would lead to another machine than the one that is meant."""
    taken: dict[tuple[str, str | None], str] = {}
    behind: dict[str, list[str]] = {}
    for name, machine in topology.machines.items():
        if machine.bmc is not None:
            behind.setdefault(machine.bmc.endpoint, []).append(name)
    for name, machine in topology.machines.items():
        if machine.bmc is None:
            continue
        here = ("machines", name, "bmc")
        if machine.host is not None:
            yield Finding(("machines", name, "host"), f"{name} has a BMC: it runs on no host")
        if not set(machine.roles) <= HOLDERS:
            yield Finding(("machines", name, "roles"), f"{name} has a BMC: its only role can be 'protected'")
        others = [other for other in behind[machine.bmc.endpoint] if other != name]
        if others and machine.bmc.system is None:
            message = f"{', '.join(others)} is behind {machine.bmc.endpoint} too: each needs its 'system'"
            yield Finding(here, message)
        first = taken.setdefault((machine.bmc.endpoint, machine.bmc.system), name)
        if first != name and machine.bmc.system is not None:
            yield Finding((*here, "system"), f"system '{machine.bmc.system}' there is {first} already")
