"""Unplanned failover to the recovery site, and its commit (seed L76-78, L142).

The replica machine runs on copies of the replica disks. They cost the time of a copy, but the replica disks stay
what they are, so until the commit any recovery point can still be chosen, a newer one too: a machine that has run
on a disk has changed blocks that no undo log knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.errors import BadRequest, JobError
from lab.replication.configuration_server.fabric_client import FabricClient
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
from lab.replication.configuration_server.sessions import Point, Session
from lab.replication.configuration_server.states import Operation


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
        point = await workshop.settled_point(session, selector, last)
        started = await start_replica(workshop, machine, session, point, steps)
        untested = None if machine.attributes.get("test_failover") == "performed" else True
        return {**started, "failed_over_untested": untested}

    async def _shut_down_source(self, machine: Machine, session: Session, steps: Steps) -> None:
        site = machine.settings.primary_fabric
        await steps.attempt("cut", self.workshop.cut_and_publish(session))
        await steps.attempt("shutdown-source", stop_machine(self.workshop.fabrics[site], machine.name))


@dataclass(frozen=True)
class ChangeRecoveryPoint:
    """Before the commit: make the replica machine again, from another recovery point (domain 2.2)."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require to be told a recovery point, and that there is one."""
        only(arguments, "recovery_point")
        if arguments.get("recovery_point") is None:
            raise BadRequest("recovery_point: which one is wanted has to be said")
        self.readiness.point(machine, Operation.CHANGE_RECOVERY_POINT, selector_of(arguments))

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any]:
        """What the replica has written since the failover is given up."""
        session = self.readiness.session(machine, Operation.CHANGE_RECOVERY_POINT)
        point = await self.workshop.settled_point(session, selector_of(arguments), None)
        return await start_replica(self.workshop, machine, session, point, steps)


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
        async with steps.step("close-stream-at-master-target"):
            await workshop.calls.close_at_master_target(session)
        async with steps.step("delete-replica-disks"):
            fabric = workshop.fabrics[session.fabric]
            for disk in session.disks:
                await fabric.detach_disk(disk.disk)
                await fabric.delete_disk(disk.disk)
        workshop.sessions.close(session.stream)


async def start_replica(
    workshop: Workshop, machine: Machine, session: Session, point: Point, steps: Steps
) -> dict[str, Any]:
    """Make the replica machine from a recovery point and start it; an earlier one is removed.

    Returns:
        What is to be remembered of the machine.
    """
    fabric = workshop.fabrics[session.fabric]
    async with steps.step("remove-earlier-replica-machine"):
        await remove_machine(fabric, machine, machine.replica_name)
    async with steps.step("copy-replica-disks"):
        copies = await copy_disks(workshop, machine, session, machine.replica_name)
    if point.sequence != copies.applied:
        async with steps.step("roll-copies"):
            await roll_copies(workshop, session, copies, point)
    async with steps.step("start-replica-machine"):
        cards = machine.settings.replica_nics
        await create_machine(fabric, machine, machine.replica_name, copies.disks, cards)
    return {"replica_machine": machine.replica_name, "recovery_point": point.id}


async def stop_machine(fabric: FabricClient, name: str) -> None:
    """Shut a machine down, or cut its power if it does not react; return when it is off.

    Raises:
        JobError: it cannot be confirmed that it is off.
    """
    try:
        await fabric.power(name, "shutdown")
    except JobError:
        await fabric.power(name, "off")
    await require_off(fabric, name)


async def require_off(fabric: FabricClient, name: str) -> None:
    """Make sure that a machine is off.

    Raises:
        JobError: it is not, or nobody can tell.
    """
    found = await fabric.machine(name)
    state = found["state"] if found else "missing"
    if state != "off":
        raise JobError("machine-not-off", f"{name} has to be off, but it is {state}")
