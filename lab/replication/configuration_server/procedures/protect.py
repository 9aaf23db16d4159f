"""Protecting a machine: installation, initial replication, resynchronisation, and the end of it (seed L60-62)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.common.config import Endpoint
from lab.replication.configuration_server.discovery import require_on_esxi
from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.policies import Policy
from lab.replication.configuration_server.procedures.host_support import require_guest, require_host
from lab.replication.configuration_server.procedures.parts import Workshop
from lab.replication.configuration_server.procedures.readiness import Readiness, only, refusal
from lab.replication.configuration_server.sessions import FORWARD, Session, new_stream_id
from lab.replication.configuration_server.states import Operation
from lab.replication.configuration_server.steps import Steps


@dataclass(frozen=True)
class PushInstall:
    """Have the process server install the mobility service (seed L46, L52)."""

    workshop: Workshop
    readiness: Readiness
    own_endpoint: Endpoint

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a process server and to be told how the machine is reached."""
        only(arguments)
        server = machine.settings.process_server.name
        self.readiness.need(machine, Operation.PUSH_INSTALL, f"process-server-{server}")
        if machine.settings.push_install is None:
            raise refusal(machine, Operation.PUSH_INSTALL, "the settings have no 'push_install'")

    async def run(
        self,
        machine: Machine,
        arguments: Mapping[str, Any],  # noqa: ARG002
        steps: Steps,
    ) -> Mapping[str, Any]:
        """Install, and remember the version."""
        order = {
            "configuration_server": self.own_endpoint.to_json(),
            **(machine.settings.push_install or {}),
            "support": self.workshop.targets.of_machine(machine).matrix.target,
            "machine": machine.name,
        }
        await find_in_inventory(self.workshop, machine, steps)
        async with steps.step("push-install"):
            value = await self.workshop.calls.push_install(machine.settings.process_server.name, order)
        return {"mobility_version": value.get("version")}


@dataclass(frozen=True)
class Enable:
    """Make replica disks, open a new stream, and start the initial replication."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require everything that takes part."""
        only(arguments)
        self.readiness.target(machine, Operation.ENABLE)
        matrix = self.workshop.targets.of_machine(machine).matrix
        self.readiness.supported(machine, Operation.ENABLE, matrix)

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> None:  # noqa: ARG002
        """Begin with nothing: what an earlier attempt left must not be taken for replicated data."""
        workshop, settings = self.workshop, machine.settings
        await find_in_inventory(workshop, machine, steps)
        await look_at_hosts(workshop, machine, steps)
        policy = workshop.machines.policy(settings.policy)
        await discard_sessions(workshop, machine, steps)
        target = workshop.targets.of_machine(machine)
        session = target.session(machine, new_stream_id())
        workshop.sessions.add(session)
        workshop.machines.remember(machine.name, **fresh_attributes(session))
        session = await target.prepare(machine, session, policy, steps)
        await workshop.open_carrier(session, policy, steps)
        async with steps.step("start-replication"):
            cards = (*settings.replica_nics, *settings.test_nics)
            await workshop.start_replication(machine, session, policy, mode="copy", cards=cards)


@dataclass(frozen=True)
class Disable:
    """Stop replication and remove the replica."""

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
        """Servers that are gone do not keep a machine protected; disks that cannot be removed fail the job."""
        await discard_sessions(self.workshop, machine, steps, stop_agent=True)
        async with steps.step("delete-replica-disks"):
            await self.workshop.targets.of_machine(machine).delete_replica(machine)
        return {**fresh_attributes(None), "test_failover": None}


@dataclass(frozen=True)
class Resynchronise:
    """Have the agent compare its disks with the replica and send what differs (domain 2.4)."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a session."""
        only(arguments)
        self.readiness.session(machine, Operation.RESYNCHRONISE)

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> None:  # noqa: ARG002
        """The attribute goes away with the event of the agent."""
        session = self.readiness.session(machine, Operation.RESYNCHRONISE)
        # Set first: the agent may be done before its answer is.
        self.workshop.machines.remember(machine.name, resynchronising={"reason": "requested"})
        async with steps.step("resynchronise"):
            try:
                await self.workshop.calls.resynchronise(session)
            except JobError:
                self.workshop.machines.remember(machine.name, resynchronising=None)
                raise


@dataclass(frozen=True)
class CutNow:
    """Make a recovery point now; ``shared``: with all members of the group that this machine coordinates."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a session."""
        only(arguments, "shared", "application")
        self.readiness.session(machine, Operation.CUT)

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> None:
        """The point is published later, by the master target."""
        shared, application = arguments.get("shared") is True, arguments.get("application") is True
        session = self.readiness.session(machine, Operation.CUT)
        async with steps.step("cut"):
            made = await self.workshop.calls.cut(session, shared=shared, application=application)
            if shared and not made.get("shared"):
                raise JobError("no-shared-instant", "; ".join(made.get("problems") or ["no reason given"]))


@dataclass(frozen=True)
class ApplyPolicy:
    """Tell servers and agent about a policy that has changed (seed L61, L64: the port)."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a session."""
        only(arguments)
        self.readiness.session(machine, Operation.APPLY_POLICY)

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> None:  # noqa: ARG002
        """Open the same stream again with the new values, from its end to its beginning."""
        workshop, settings = self.workshop, machine.settings
        session = self.readiness.session(machine, Operation.APPLY_POLICY)
        policy = workshop.machines.policy(settings.policy)
        target = workshop.targets.of(session)
        async with steps.step(f"open-stream-at-{target.label}"):
            await target.reopen(session, policy)
        await workshop.open_carrier(session, policy, steps)
        async with steps.step("start-replication"):
            await tell_agent(workshop, machine, session, policy)


async def find_in_inventory(workshop: Workshop, machine: Machine, steps: Steps) -> None:
    """Refuse a VMware machine that no ESXi host has (seed L51, L143); others have nothing to be found in."""
    if machine.settings.vmware is not None:
        async with steps.step("find-in-inventory"):
            await require_on_esxi(workshop.fabrics, machine)


async def look_at_hosts(workshop: Workshop, machine: Machine, steps: Steps) -> None:
    """Refuse a machine of a host, or a recovery host, that is not supported (seed L39); others have no host."""
    host, recovery = machine.settings.host, machine.settings.recovery_host
    if host is None:
        return
    calls, target = workshop.calls.hosts, workshop.targets.of_machine(machine).matrix
    async with steps.step("look-at-hosts"):
        for server in (host.source, *([recovery] if recovery is not None else [])):
            await require_host(calls, server)
        await require_guest(calls, machine, host, target)


async def tell_agent(workshop: Workshop, machine: Machine, session: Session, policy: Policy) -> None:
    """Give the agent of a running session a new order: what it replicates already goes on."""
    settings = machine.settings
    forward = session.direction == FORWARD
    cards = (*settings.replica_nics, *settings.test_nics) if forward else ()
    mode = "copy" if forward else "checksum"
    await workshop.start_replication(machine, session, policy, mode=mode, cards=cards)


async def discard_sessions(workshop: Workshop, machine: Machine, steps: Steps, *, stop_agent: bool = False) -> None:
    """Close every session that is still open."""
    for session in workshop.sessions.open_of(machine.name):
        if stop_agent:
            await steps.attempt("stop-replication", workshop.calls.stop_replication(session))
        await workshop.close_session(session, steps)


def fresh_attributes(session: Session | None) -> dict[str, Any]:
    """Return the attributes of a machine with a new session, or without one."""
    return {
        "stream": session.stream if session else None,
        "copied_stream": None,
        "resynchronising": None,
        "progress": None,
        "broken_links": None,
        "group_problem": None,
        "application_problem": None,
        "retention_problem": None,
        "recovery_point": None,
        "drained": None,
        "grown_disks": None,
    }
