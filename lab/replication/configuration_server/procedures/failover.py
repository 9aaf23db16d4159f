"""Unplanned failover to the target, and its commit (seed L76-78, L142)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.procedures.parts import Workshop
from lab.replication.configuration_server.procedures.readiness import Readiness, only, refusal
from lab.replication.configuration_server.selection import selector_of
from lab.replication.configuration_server.sessions import Point, Session
from lab.replication.configuration_server.states import Operation
from lab.replication.configuration_server.steps import Steps
from lab.replication.configuration_server.targets.protocol import Order, PickPoint
from lab.replication.configuration_server.targets.site_machines import stop_machine


@dataclass(frozen=True)
class Failover:
    """Create the replica machine from a recovery point."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a recovery point."""
        only(arguments, "recovery_point", "shutdown_source")
        self.readiness.point(machine, Operation.FAILOVER, selector_of(arguments))
        if not isinstance(arguments.get("shutdown_source", False), bool):
            raise BadRequest("shutdown_source: true or false is expected")

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any]:
        """Errors of the primary site do not stop a failover (domain 2.2)."""
        workshop = self.workshop
        session = self.readiness.session(machine, Operation.FAILOVER)
        selector = selector_of(arguments)
        if arguments.get("shutdown_source", False):
            await self._shut_down_source(machine, session, steps)
        last = await workshop.end_replication(machine, session, selector, steps)
        chosen = await workshop.settled_point(session, selector, last)
        started = await start_replica(workshop, machine, session, always(chosen), steps)
        untested = None if machine.attributes.get("test_failover") == "performed" else True
        return {**started, "failed_over_untested": untested}

    async def _shut_down_source(self, machine: Machine, session: Session, steps: Steps) -> None:
        await steps.attempt("cut", self.workshop.cut_and_publish(session))
        if session.source is not None:
            power = self.workshop.calls.hosts.require_off(session.source, session.guest, "shutdown")
            if await steps.attempt("shutdown-source", power):
                # What it wrote until then is in no cut yet, and its host can still give it.
                await steps.attempt("final-delta", self.workshop.calls.hosts.drain(session, final=True))
            return
        home = machine.home
        await steps.attempt("shutdown-source", stop_machine(self.workshop.fabrics[home.fabric], home.name))


@dataclass(frozen=True)
class ChangeRecoveryPoint:
    """Before the commit: make the replica machine again, from another recovery point (domain 2.2)."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require to be told a recovery point, and that there is one."""
        only(arguments, "recovery_point")
        if machine.attributes.get("reverse_stream") is not None:
            message = f"{machine.name} was failed over as planned: the last point is the only one that loses nothing"
            raise refusal(machine, Operation.CHANGE_RECOVERY_POINT, message, reason="not-supported")
        if arguments.get("recovery_point") is None:
            raise BadRequest("recovery_point: which one is wanted has to be said")
        self.readiness.point(machine, Operation.CHANGE_RECOVERY_POINT, selector_of(arguments))

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any]:
        """What the replica has written since the failover is given up."""
        session = self.readiness.session(machine, Operation.CHANGE_RECOVERY_POINT)
        point = await self.workshop.settled_point(session, selector_of(arguments), None)
        return await start_replica(self.workshop, machine, session, always(point), steps)


@dataclass(frozen=True)
class Commit:
    """Give up all other recovery points (seed L78); the replica machine is the workload now."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a session."""
        only(arguments)
        self.readiness.session(machine, Operation.COMMIT)

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> None:  # noqa: ARG002
        """Points first: if a later step fails, nobody may choose one that is half gone."""
        workshop = self.workshop
        session = self.readiness.session(machine, Operation.COMMIT)
        async with steps.step("forget-recovery-points"):
            workshop.sessions.forget_points(session.stream)
        await workshop.targets.of(session).commit(machine, session, steps)
        workshop.sessions.close(session.stream)


async def start_replica(
    workshop: Workshop,
    machine: Machine,
    session: Session,
    pick: PickPoint,
    steps: Steps,
    *,
    paused: bool = False,
) -> dict[str, Any]:
    """Make the replica machine from a recovery point and start it; an earlier one is removed.

    ``paused``: its first instruction waits.

    Returns:
        What is to be remembered of the machine.
    """
    target = workshop.targets.of(session)
    async with steps.step("remove-earlier-replica-machine"):
        await target.remove_machine(machine, machine.replica_name)
    cards = machine.settings.replica_nics
    point = await target.start_machine(Order(machine, session, machine.replica_name, pick, cards, paused), steps)
    return {"replica_machine": machine.replica_name, "recovery_point": point.id}


def always(point: Point) -> PickPoint:
    """Return what picks this point whenever it is asked."""

    async def pick() -> Point:
        return point

    return pick
