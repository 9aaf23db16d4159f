"""What has to be there before an operation may start (seed L60: in this order)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.replication.configuration_server.capacity import MASTER_TARGET_FULL, Capacity
from lab.replication.configuration_server.components import Registry
from lab.replication.configuration_server.errors import BadRequest, OperationRefused, Unknown
from lab.replication.configuration_server.fabric_client import Fabrics
from lab.replication.configuration_server.machines import Machine, MachineTable
from lab.replication.configuration_server.selection import NoSuchPoint, Selector, select
from lab.replication.configuration_server.sessions import Point, Session, SessionTable
from lab.replication.configuration_server.settings import Server
from lab.replication.configuration_server.states import Operation, allowed_operations
from lab.replication.support.matrix import UNSUPPORTED_SYSTEM, Matrix


@dataclass(frozen=True)
class Readiness:
    """Refuses operations for which something is missing; nothing is changed here."""

    registry: Registry
    machines: MachineTable
    sessions: SessionTable
    fabrics: Fabrics
    capacity: Capacity = field(default_factory=Capacity)

    def need(self, machine: Machine, operation: Operation, *components: str, fabrics: tuple[str, ...] = ()) -> None:
        """Require registered components, configured fabrics and the policy.

        Raises:
            OperationRefused: one is missing.
        """
        for component in components:
            if self.registry.find(component) is None:
                raise refusal(machine, operation, f"{component} is not registered")
        for site in fabrics:
            if site not in self.fabrics:
                raise refusal(machine, operation, f"fabric {site} is not configured")
        try:
            self.machines.policy(machine.settings.policy)
        except Unknown as error:
            raise refusal(machine, operation, str(error)) from error

    def supported(self, machine: Machine, operation: Operation, matrix: Matrix) -> None:
        """Require a machine of the support matrix, as far as its agent has said what it is (seed L126, L127).

        Raises:
            OperationRefused: its system or its disks are not supported.
        """
        facts = self.registry.system(machine.agent)
        problem = None if facts is None else matrix.refusal_of(facts)
        problem = problem or matrix.refusal_of_disks([disk.size for disk in machine.settings.disks])
        if problem is not None:
            raise refusal(machine, operation, f"{machine.name}: {problem}", reason=UNSUPPORTED_SYSTEM)

    def room(self, machine: Machine, operation: Operation, target: Server) -> None:
        """Require room for a machine's replica disks at a master target (V2S-MT-COUNT).

        Raises:
            OperationRefused: it has too many already.
        """
        problem = self.capacity.refusal(machine, target, self.machines.all())
        if problem is not None:
            raise refusal(machine, operation, problem, reason=MASTER_TARGET_FULL)

    def session(self, machine: Machine, operation: Operation) -> Session:
        """Return the present session.

        Raises:
            OperationRefused: there is none.
        """
        session = self.sessions.find(machine.attributes.get("stream"))
        if session is None:
            raise refusal(machine, operation, f"{machine.name} has no replication session")
        return session

    def point(self, machine: Machine, operation: Operation, selector: Selector) -> Point:
        """Return the recovery point that is wanted, at this moment.

        Raises:
            OperationRefused: there is none, or not this one.
        """
        session = self.session(machine, operation)
        try:
            return select(self.sessions.points(session.stream), selector)
        except NoSuchPoint as error:
            raise refusal(machine, operation, f"{machine.name}: {error}") from error


def refusal(machine: Machine, operation: Operation, message: str, reason: str = "not-ready") -> OperationRefused:
    """Return the error for an operation whose needs are not met."""
    allowed = allowed_operations(machine.state, test_machine=machine.has_test_machine)
    return OperationRefused(reason, operation, machine.state, allowed, message)


def only(arguments: Mapping[str, Any], *known: str) -> None:
    """Refuse arguments that nobody reads.

    Raises:
        BadRequest: there is one.
    """
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise BadRequest(f"unknown argument {unknown[0]!r}; known are {', '.join(known) or 'none'}")
