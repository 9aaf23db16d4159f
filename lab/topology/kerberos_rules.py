"""What must be true where hosts authenticate by Kerberos (seed L167). Pure: a topology in, findings out."""

from __future__ import annotations

from collections.abc import Iterator

from lab.topology.findings import Finding
from lab.topology.machines import Machine, Role
from lab.topology.model import Topology
from lab.topology.scenario import Scenario

KERBEROS = "kerberos"


def kerberos_findings(topology: Topology) -> Iterator[Finding]:
    """Yield what is missing for Kerberos, and KDCs that hosts do not reach."""
    holders = topology.machines_with(Role.KDC)
    for name, policy in topology.stack.policies.items():
        here = ("stack", "policies", name, "authentication")
        if policy.authentication == KERBEROS and topology.scenario is not Scenario.H2S:
            message = f"in scenario {topology.scenario} no host sends to another one, so none authenticates by Kerberos"
            yield Finding(here, message)
        elif policy.authentication == KERBEROS and not holders:
            yield Finding(here, "Kerberos needs a machine with role 'kdc'")
    if len(holders) > 1:
        yield Finding(("machines",), f"one machine has the role 'kdc', not {', '.join(holders)}")
    for kdc in holders.values():
        for name, host in topology.machines_with(Role.HYPERVISOR_HOST).items():
            if not _networks(kdc) & _networks(host):
                yield Finding(("machines", name, "interfaces"), f"{name} is on no network of the KDC")


def _networks(machine: Machine) -> set[str]:
    return {card.network for card in machine.interfaces if card.address is not None}
