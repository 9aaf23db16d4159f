"""Planned failover of machines that are replicated from their host, and their way back (seed L107-111, L188-193).

Nothing is lost: the machine is off before its last changes are read from its host, and no machine starts before they
have become a recovery point.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.jobs import Procedure
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.policies import Policy
from lab.replication.configuration_server.procedures.failover import Commit, always, start_replica
from lab.replication.configuration_server.procedures.parts import Workshop, fencing
from lab.replication.configuration_server.procedures.protect import discard_sessions, fresh_attributes
from lab.replication.configuration_server.procedures.readiness import Readiness, only
from lab.replication.configuration_server.selection import Selector
from lab.replication.configuration_server.sessions import REVERSE, Point, Session, new_stream_id
from lab.replication.configuration_server.states import Family, Operation, State
from lab.replication.configuration_server.steps import Steps
from lab.replication.configuration_server.targets.host import recovery_host_of, source_of


@dataclass(frozen=True)
class ByFamily:
    """One operation that is done in another way for machines of some families."""

    ordinary: Procedure
    special: Mapping[Family, Procedure]

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Ask the procedure of the machine's family."""
        self._of(machine).check(machine, arguments)

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any] | None:
        """Have the procedure of the machine's family do it."""
        return await self._of(machine).run(machine, arguments, steps)

    def _of(self, machine: Machine) -> Procedure:
        return self.special.get(machine.family, self.ordinary)


@dataclass(frozen=True)
class PlannedFailover:
    """Shut the source down, take its last changes, start the replica; to a site it is protected from then on."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a recovery point, and hosts that answer for themselves."""
        only(arguments)
        self.readiness.point(machine, Operation.PLANNED_FAILOVER, Selector())

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any]:  # noqa: ARG002
        """An error stops it (domain 2.2); done again, it goes on where it was."""
        workshop = self.workshop
        session = self.readiness.session(machine, Operation.PLANNED_FAILOVER)
        if machine.attributes.get("drained") != session.stream:
            off_ns = await end_without_loss(workshop, session, steps)
            workshop.machines.remember(machine.name, drained=session.stream, source_off_ns=off_ns)
        point = await workshop.settled_point(session, Selector(), None)
        back = machine.family is Family.HOST_TO_SITE
        started = await start_replica(workshop, machine, session, always(point), steps, paused=back)
        reverse = await self._protect_replica(machine, steps) if back else None
        untested = None if machine.attributes.get("test_failover") == "performed" else True
        return {**started, "failed_over_untested": untested, "reverse_stream": reverse}

    async def _protect_replica(self, machine: Machine, steps: Steps) -> str:
        """Its disks and those of the original are equal until its first instruction: nothing has to be copied."""
        workshop = self.workshop
        policy = workshop.machines.policy(machine.settings.policy)
        session = await open_towards_original(workshop, machine, policy, steps)
        async with steps.step("record-changes"):
            await workshop.calls.hosts.record_changes(session, machine.settings.disks)
        async with steps.step("resume-replica-machine"):
            await workshop.calls.hosts.power(session.at_source, session.guest, "resume")
        async with steps.step("start-replication"):
            await workshop.start_replication(machine, session, policy, mode="steady", cards=())
        return session.stream


@dataclass(frozen=True)
class CommitToSite:
    """Commit a failover to a site: after a planned one the machine is protected already (seed L190)."""

    commit: Commit

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a session."""
        self.commit.check(machine, arguments)

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any]:
        """The present stream becomes the one that goes back, if there is one."""
        await self.commit.run(machine, arguments, steps)
        reverse = machine.attributes.get("reverse_stream")
        if reverse is None:
            return {}
        return {"stream": reverse, "copied_stream": reverse, "reverse_stream": None, "drained": None}


@dataclass(frozen=True)
class ReverseReplication:
    """Replicate from the active site to the other one, whichever that is (seed L192, L193)."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require the providers of both hosts."""
        only(arguments)
        hosts = (source_of(machine).source, recovery_host_of(machine))
        self.readiness.need(machine, Operation.REPROTECT, *(f"provider-{host.name}" for host in hosts))

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> None:  # noqa: ARG002
        """The other side's disks are compared, and only what differs is sent."""
        workshop = self.workshop
        policy = workshop.machines.policy(machine.settings.policy)
        forward = machine.state is State.ENABLING
        await discard_sessions(workshop, machine, steps, stop_agent=True)
        open_stream = open_towards_recovery if forward else open_towards_original
        session = await open_stream(workshop, machine, policy, steps)
        workshop.machines.remember(machine.name, **fresh_attributes(session), rolled_back_to=None)
        async with steps.step("start-replication"):
            await workshop.start_replication(machine, session, policy, mode="checksum", cards=())


@dataclass(frozen=True)
class PlannedFailback:
    """A planned failover from the secondary site to the primary one (seed L193)."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a recovery point."""
        only(arguments)
        if "rolled_back_to" not in machine.attributes:
            self.readiness.point(machine, Operation.FAILBACK, Selector())

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> None:  # noqa: ARG002
        """The original machine starts on its own disks, which hold what the replica wrote to the end."""
        workshop = self.workshop
        session = self.readiness.session(machine, Operation.FAILBACK)
        if machine.attributes.get("rolled_back_to") is None:
            off_ns = await end_without_loss(workshop, session, steps)
            point: Point = await workshop.settled_point(session, Selector(), None)
            async with steps.step("roll"):
                await workshop.calls.hosts.roll(session, point.id)
            noted = {"rolled_back_to": point.id, "recovery_point": point.id, "source_off_ns": off_ns}
            workshop.machines.remember(machine.name, **noted)
        async with steps.step("start-original"):
            await workshop.calls.hosts.power(session.at_receiver, original_guest(machine), "on")


@dataclass(frozen=True)
class CommitPlannedFailback:
    """The primary site is the active one again; the machine at the other one stays, off, for the next replication."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a session."""
        only(arguments)
        self.readiness.session(machine, Operation.COMMIT_FAILBACK)

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any]:  # noqa: ARG002
        """Close the stream; protection begins with another reverse replication (seed L193)."""
        session = self.readiness.session(machine, Operation.COMMIT_FAILBACK)
        async with steps.step("close-stream-at-original-host"):
            await self.workshop.calls.hosts.close_stream(session)
        self.workshop.sessions.close(session.stream)
        forgotten = ("replica_machine", "rolled_back_to", "test_failover", "failed_over_untested")
        return {**fresh_attributes(None), **dict.fromkeys(forgotten)}


async def end_without_loss(workshop: Workshop, session: Session, steps: Steps) -> int:
    """Shut the machine of a session down, and return once all that it wrote is a recovery point, and it alone.

    Returns:
        When the machine was found to be off, in nanoseconds.

    Raises:
        JobError: one of that did not happen.
    """
    hosts = workshop.calls.hosts
    # Most of what is left goes over while the machine still runs.
    await steps.attempt("cut", workshop.cut_and_publish(session))
    async with steps.step("shutdown-source"):
        await hosts.require_off(session.at_source, session.guest, "shutdown")
    off_ns = time.time_ns()
    async with steps.step("final-delta"):
        last = await hosts.drain(session, final=True)
        await workshop.targets.of(session).settle(session, last)
    async with steps.step("publish-last-point"):
        await workshop.published(session, last)
    await steps.attempt(fencing(session), workshop.calls.close_at_process_server(session))
    return off_ns


async def open_towards_original(workshop: Workshop, machine: Machine, policy: Policy, steps: Steps) -> Session:
    """Open a stream from the replica machine to the disks of the original, which has to be off. Raises JobError."""
    session = Session(
        stream=new_stream_id(),
        machine=machine.name,
        direction=REVERSE,
        process_server=None,
        master_target=None,
        fabric="",
        source=recovery_host_of(machine),
        guest=machine.replica_name,
        receiver=source_of(machine).source,
    )
    workshop.sessions.add(session)
    hosts, target = workshop.calls.hosts, workshop.targets.hosts
    guest = original_guest(machine)
    async with steps.step("power-off-original"):
        await hosts.end_replications(session.at_receiver, guest)
        await hosts.require_off(session.at_receiver, guest, "off")
    async with steps.step("adopt-original-disks"):
        places = await hosts.places(session, "adopt-disks", machine.settings.disks, guest=guest)
    return await target.opened(machine, session, places, policy, steps)


def original_guest(machine: Machine) -> str:
    """Return what the original machine is called on its host. Raises JobError."""
    return source_of(machine).guest or machine.name


async def open_towards_recovery(workshop: Workshop, machine: Machine, policy: Policy, steps: Steps) -> Session:
    """Open a stream from the original to the disks that the replica machine ran on. Raises JobError."""
    target = workshop.targets.hosts
    session = target.session(machine, new_stream_id())
    workshop.sessions.add(session)
    hosts, guest = workshop.calls.hosts, machine.replica_name
    async with steps.step("retake-replica-disks"):
        await hosts.end_replications(session.at_receiver, guest)
        places = await hosts.places(session, "retake-disks", machine.settings.disks, guest=guest)
    return await target.opened(machine, session, places, policy, steps)
