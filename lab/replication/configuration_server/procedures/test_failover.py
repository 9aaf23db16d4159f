"""Test failover: a copy of the machine on an isolated network, while replication goes on (seed L65, domain 2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.procedures.parts import Workshop
from lab.replication.configuration_server.procedures.readiness import Readiness, only
from lab.replication.configuration_server.selection import selector_of
from lab.replication.configuration_server.sessions import Point
from lab.replication.configuration_server.settings import Card
from lab.replication.configuration_server.states import Operation
from lab.replication.configuration_server.steps import Steps
from lab.replication.configuration_server.targets.protocol import Order


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

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any]:
        """Make a machine of a point while replication goes on."""
        workshop = self.workshop
        session = self.readiness.session(machine, Operation.TEST_FAILOVER)
        target = workshop.targets.of(session)
        name = machine.test_name
        workshop.machines.remember(machine.name, test_machine=name, test_failover="in-progress")
        async with steps.step("remove-leftovers"):
            await target.remove_machine(machine, name)

        async def pick() -> Point:
            return await workshop.settled_point(session, selector_of(arguments), None)

        point = await target.start_machine(Order(machine, session, name, pick, _cards(machine, arguments)), steps)
        return {"test_failover": "running", "test_recovery_point": point.id}


@dataclass(frozen=True)
class CleanupTestFailover:
    """Remove the test machine; only now the test counts (domain 2.2)."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:  # noqa: ARG002 - nothing else is needed
        """Accept no arguments."""
        only(arguments)

    async def run(
        self,
        machine: Machine,
        arguments: Mapping[str, Any],  # noqa: ARG002
        steps: Steps,
    ) -> Mapping[str, Any]:
        """Remove everything that the test failover made."""
        worked = "test_recovery_point" in machine.attributes
        async with steps.step("remove-test-machine"):
            await self.workshop.targets.of_machine(machine).remove_machine(machine, machine.test_name)
        return {
            "test_machine": None,
            "test_recovery_point": None,
            "test_failover": "performed" if worked else None,
        }


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
