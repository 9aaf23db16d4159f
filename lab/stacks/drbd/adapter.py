"""What the lab loads by the entry point ``drbd``: how DRBD is set up on a lab, and what it cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.errors import BadInput
from lab.provision.board import Board
from lab.provision.lab import Lab
from lab.stacks.abilities import Ability, Lacks
from lab.stacks.adapter import Adapter
from lab.stacks.drbd.node import Machine
from lab.stacks.drbd.operations import Operations
from lab.stacks.drbd.resource import SECRET, Resource, resources
from lab.stacks.drbd.stack import DrbdStack
from lab.stacks.protocol import Stack
from lab.stacks.secrets import pairing_passphrase
from lab.topology.model import Topology

LACKS: Lacks = {
    Ability.RECOVERY_POINTS: "DRBD keeps one state of a disk, the newest; there is no way back in time",
    Ability.WHOLE_MACHINES: "DRBD mirrors a data disk; the standby is a machine of its own that takes the disk over",
    Ability.SERVERS: "DRBD speaks from kernel to kernel: it has no agent, no servers and no control API",
    Ability.COMMIT: "a failover of DRBD is final as soon as the standby is primary",
    Ability.TEST_FAILOVER: "DRBD's replica cannot be read while it is one, and DRBD makes no copies",
    Ability.GROUPS: "each of DRBD's resources is on one machine, and nothing ties the instants of several together",
    Ability.PLANS: "DRBD has no recovery plans; a cluster manager above it would",
    Ability.MANAGEMENT: "DRBD has a command line on each machine, and nothing central",
    Ability.SUPPORT_MATRIX: "DRBD has no list of systems: whatever loads its module is supported",
    Ability.ENCRYPTION: "DRBD 8.4 authenticates its peer by a shared secret, and sends blocks as they are",
}


def lacks(topology: Topology) -> Lacks:
    """Return what DRBD cannot do. Raises BadInput for a topology that it cannot serve."""
    resources(topology)
    return LACKS


@contextmanager
def deployed(lab: Lab, board: Board) -> Iterator[Stack]:
    """Yield DRBD on a lab, configured now unless it is."""
    pairs = {name: _operations(lab, resource) for name, resource in resources(lab.topology).items()}
    for name, pair in pairs.items():
        machines = (pair.source, pair.standby)
        if not all(machine.configured for machine in machines if machine.machine.running):
            secret = _secret(lab.topology)
            for machine in machines:
                board.step(f"{name} drbd", f"configuring {machine.machine.name}")
                machine.configure(secret)
        board.step(f"{name} drbd", "configured")
    with DrbdStack(pairs) as stack:
        yield stack


def _operations(lab: Lab, resource: Resource) -> Operations:
    source, standby = (Machine(lab.machine(node.name), node, resource) for node in resource.nodes)
    return Operations(source, standby)


def _secret(topology: Topology) -> str:
    secret = pairing_passphrase(topology)
    if SECRET.fullmatch(secret) is None:
        raise BadInput(f"{topology.source}: as DRBD's secret the passphrase has to match {SECRET.pattern}")
    return secret


ADAPTER = Adapter(deployed, lacks)
