"""What has to be there before an operation may start (seed L60: in this order)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.replication.configuration_server.capacity import MASTER_TARGET_FULL, Capacity
from lab.replication.configuration_server.components import Registry
from lab.replication.configuration_server.deployment import Deployment
from lab.replication.configuration_server.errors import BadRequest, OperationRefused, Unknown
from lab.replication.configuration_server.fabric_client import Fabrics
from lab.replication.configuration_server.host_setup import HostSetup
from lab.replication.configuration_server.machines import Machine, MachineTable
from lab.replication.configuration_server.procedures.host_support import refusal_of_guest
from lab.replication.configuration_server.selection import NoSuchPoint, Selector, select
from lab.replication.configuration_server.sessions import Point, Session, SessionTable
from lab.replication.configuration_server.settings import VMWARE, AzureSettings, HostSettings, Server
from lab.replication.configuration_server.states import Operation
from lab.replication.support.matrix import UNSUPPORTED_SYSTEM, Matrix
from lab.replication.vault.setup import Step, StepTooEarly, require_before

COPY_FREQUENCIES_S = (30, 300, 900)
"""How often a host may send changes (domain 2.1)."""


@dataclass(frozen=True)
class Readiness:
    """Refuses operations for which something is missing; nothing is changed here."""

    registry: Registry
    machines: MachineTable
    sessions: SessionTable
    fabrics: Fabrics
    deployment: Deployment
    fabric_setup: HostSetup
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

    def target(self, machine: Machine, operation: Operation) -> None:
        """Require what protection needs: agent, process server, fabrics, and the other side.

        Raises:
            OperationRefused: something is missing.
        """
        settings = machine.settings
        azure = settings.azure
        if settings.host is not None:
            self._hosts(machine, operation, settings.host)
            return
        fabrics: tuple[str, ...] = (settings.primary_fabric,)
        needed = [machine.agent, f"process-server-{settings.process_server.name}"]
        if azure is None:
            needed.append(f"master-target-{settings.site.master_target.name}")
            fabrics = (settings.site.recovery_fabric, *fabrics)
        else:
            self._set_up(machine, operation, azure)
        self.need(machine, operation, *needed, fabrics=fabrics)
        if azure is None:
            self.room(machine, operation, settings.site.master_target)

    def _hosts(self, machine: Machine, operation: Operation, host: HostSettings) -> None:
        """Require the providers of both hosts, where they are managed, and a policy that hosts can follow."""
        recovery = machine.settings.recovery_host
        needed = [machine.agent, *([f"provider-{recovery.name}"] if recovery is not None else [])]
        self.need(machine, operation, *needed)
        interval = self.machines.policy(machine.settings.policy).recovery_point_interval_s
        if interval not in COPY_FREQUENCIES_S:
            known = ", ".join(str(each) for each in COPY_FREQUENCIES_S)
            message = f"policy {machine.settings.policy}: from a host a point is made every {known} s, not {interval}"
            raise refusal(machine, operation, message, reason="copy-frequency")
        problem = self.fabric_setup.refusal(host.source.name, recovery, machine.settings.policy)
        if problem is not None:
            raise refusal(machine, operation, f"{machine.name}: {problem}", reason="not-set-up")
        if machine.settings.azure is not None:
            self._set_up(machine, operation, machine.settings.azure)

    def _set_up(self, machine: Machine, operation: Operation, azure: AzureSettings) -> None:
        """Require the steps of seed L60 that come before, and the server that was added to the vault (seed L51)."""
        done = self.deployment.done()
        mobility: dict[str, Any] = {Step.MOBILITY.value: {}} if self.registry.find(machine.agent) is not None else {}
        try:
            require_before(Step.ENABLE, {**done, **mobility})
        except StepTooEarly as error:
            raise refusal(machine, operation, str(error), reason="step-too-early") from error
        if azure.server not in done[Step.SERVERS]:
            known = ", ".join(done[Step.SERVERS])
            raise refusal(machine, operation, f"{azure.server} was not added to the vault; known are {known}")
        if machine.settings.policy not in done[Step.POLICY]:
            raise refusal(machine, operation, f"policy {machine.settings.policy} is not in the vault")

    def fabrics_of_failback(self, machine: Machine, operation: Operation) -> tuple[str, ...]:
        """Return the fabrics that the way back needs.

        Raises:
            OperationRefused: from Azure a machine only comes back as a VMware machine (seed L79, L90).
        """
        settings = machine.settings
        if settings.azure is None:
            return (settings.failback_fabric, settings.site.recovery_fabric)
        if settings.failback is not None and settings.failback.to != VMWARE:
            message = f"from Azure {machine.name} can only fail back to VMware, not to a {settings.failback.to} machine"
            raise refusal(machine, operation, message, reason="not-supported")
        return (settings.failback_fabric,)

    def supported(self, machine: Machine, operation: Operation, matrix: Matrix) -> None:
        """Require a machine of the support matrix, as far as somebody has said what it is (seed L39, L126, L127).

        Its agent says it; of a machine that is replicated from its host, whoever asks for protection.

        Raises:
            OperationRefused: its system or its disks are not supported.
        """
        facts = self.registry.system(machine.agent)
        problem = None if facts is None else matrix.refusal_of(facts)
        if problem is None and machine.settings.host is not None:
            problem = refusal_of_guest(machine.settings.host, matrix)
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


def refusal(machine: Machine, operation: Operation, message: str, *, reason: str = "not-ready") -> OperationRefused:
    """Return the error for an operation whose needs are not met."""
    allowed = machine.allowed
    return OperationRefused(reason, operation, machine.state, allowed, message)


def only(arguments: Mapping[str, Any], *known: str) -> None:
    """Refuse arguments that nobody reads.

    Raises:
        BadRequest: there is one.
    """
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise BadRequest(f"unknown argument {unknown[0]!r}; known are {', '.join(known) or 'none'}")
