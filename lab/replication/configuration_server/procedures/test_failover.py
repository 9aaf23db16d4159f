"""Test failover: a copy of the machine on an isolated network, while replication goes on (seed L65, domain 2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.jobs import Steps
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.procedures.parts import (
    Workshop,
    copy_disks,
    create_machine,
    remove_machine,
    roll_copies,
)
from lab.replication.configuration_server.procedures.readiness import Readiness, only
from lab.replication.configuration_server.selection import selector_of
from lab.replication.configuration_server.settings import Card
from lab.replication.configuration_server.states import Operation


@dataclass(frozen=True)
class StartTestFailover:
    """Start a test machine from a recovery point."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a recovery point, and test networks that the settings know."""
        only(arguments, "recovery_point", "networks")
        self.readiness.point(machine, Operation.TEST_FAILOVER, selector_of(arguments))
        _cards(machine, arguments)

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> None:
        """Clone, roll the clones, start a machine on them."""
        workshop = self.workshop
        session = self.readiness.session(machine, Operation.TEST_FAILOVER)
        fabric = workshop.fabrics[session.fabric]
        name = machine.test_name
        workshop.machines.remember(machine.name, test_machine=name, test_failover="in-progress")
        async with steps.step("remove-leftovers"):
            await remove_machine(fabric, machine, name)
        async with steps.step("copy-replica-disks"):
            copies = await copy_disks(workshop, machine, session, name)
        # Looked up after the copy: retention may have removed the point that was there at the start.
        point = await workshop.settled_point(session, selector_of(arguments), None)
        if point.sequence != copies.applied:
            async with steps.step("roll-copies"):
                await roll_copies(workshop, session, copies, point)
        async with steps.step("start-test-machine"):
            await create_machine(fabric, machine, name, copies.disks, _cards(machine, arguments))
        workshop.machines.remember(machine.name, test_failover="running", test_recovery_point=point.id)


@dataclass(frozen=True)
class CleanupTestFailover:
    """Remove the test machine; only now the test counts (domain 2.2)."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:  # noqa: ARG002 - nothing else is needed
        """Accept no arguments."""
        only(arguments)

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> None:  # noqa: ARG002
        """Remove everything that the test failover made."""
        worked = "test_recovery_point" in machine.attributes
        async with steps.step("remove-test-machine"):
            fabric = self.workshop.fabrics[machine.settings.recovery_fabric]
            await remove_machine(fabric, machine, machine.test_name)
        self.workshop.machines.remember(
            machine.name,
            test_machine=None,
            test_recovery_point=None,
            test_failover="performed" if worked else None,
        )


def _cards(machine: Machine, arguments: Mapping[str, Any]) -> tuple[Card, ...]:
    """Return the test cards, or those of ``networks`` (the management card always stays).

    Raises:
        BadRequest: a network is not one of the test networks.
    """
    cards = machine.settings.test_nics
    wanted = arguments.get("networks")
    if wanted is None:
        return cards
    known = {card.network for card in cards}
    if not isinstance(wanted, list) or not set(wanted) <= known:
        raise BadRequest(f"networks: some of {sorted(known)} are expected, not {wanted!r}")
    return tuple(card for card in cards if card.address is None or card.network in wanted)
