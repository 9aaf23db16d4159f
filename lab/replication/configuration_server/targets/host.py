"""A host of the secondary site: its provider keeps replica disks and makes machines of copies of them (seed L167)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.host_calls import HostCalls, described
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.policies import Policy
from lab.replication.configuration_server.sessions import FORWARD, Point, Session, SessionTable, TargetDisk
from lab.replication.configuration_server.settings import HostSettings, Server
from lab.replication.configuration_server.steps import Steps
from lab.replication.configuration_server.targets.protocol import Order
from lab.replication.support.matrix import SECONDARY_SITE, Matrix, load_matrix


@dataclass(frozen=True)
class HostTarget:
    """Recovery hosts; the session says which."""

    calls: HostCalls
    sessions: SessionTable

    label = "recovery-host"

    @property
    def matrix(self) -> Matrix:
        """What is supported towards a secondary site."""
        return load_matrix(SECONDARY_SITE)

    def refusal_of_growth(self) -> str:
        """A host refuses a disk that has grown (domain 2.5)."""
        return (
            "a disk that is replicated from its host does not grow: disable the machine's replication, enable it again"
        )

    def session(self, machine: Machine, stream: str) -> Session:
        """Return a new session from the machine's host to its recovery host."""
        return Session(
            stream=stream,
            machine=machine.name,
            direction=FORWARD,
            process_server=None,
            master_target=None,
            fabric="",
            source=source_of(machine).source,
            guest=source_of(machine).guest or machine.name,
            receiver=recovery_host_of(machine),
        )

    async def prepare(self, machine: Machine, session: Session, policy: Policy, steps: Steps) -> Session:
        """Make empty replica disks, and open the stream. Raises JobError."""
        async with steps.step("create-replica-disks"):
            places = await self.calls.places(session, "create-replica-disks", machine.settings.disks)
        return await self.opened(machine, session, places, policy, steps)

    async def opened(
        self, machine: Machine, session: Session, places: Mapping[int, str], policy: Policy, steps: Steps
    ) -> Session:
        """Open a stream whose replica disks are at ``places``. Raises JobError."""
        disks = [TargetDisk(d.index, d.name, d.size, d.name, places[d.index]) for d in machine.settings.disks]
        complete = session.with_disks(disks)
        self.sessions.update(complete)
        async with steps.step("open-stream-at-recovery-host"):
            await self.calls.open_stream(complete, policy, fresh=True)
        return complete

    async def reopen(self, session: Session, policy: Policy) -> None:
        """Tell the receiver about a policy. Raises JobError."""
        await self.calls.open_stream(session, policy, fresh=False)

    async def grow(self, session: Session) -> None:  # noqa: ARG002
        """Refuse. Raises JobError."""
        raise JobError("not-supported", self.refusal_of_growth())

    async def destination(self, session: Session, policy: Policy) -> Mapping[str, Any]:
        """Return the address of the receiver. Raises JobError."""
        return self.calls.receiver_address(session, policy)

    async def settle(self, session: Session, sequence: int) -> None:
        """Do nothing: a drain ends when the receiver has applied all."""

    async def start_machine(self, order: Order, steps: Steps) -> Point:
        """Have the recovery host copy the disks, roll the copies, and start a machine on them. Raises JobError."""
        point = await order.pick()
        settings = order.machine.settings
        document = {
            "guest": order.name,
            "machine": order.machine.name,
            "stream": order.session.stream,
            "recovery_point": point.id,
            "purpose": "test-failover" if order.kind == "test" else "failover",
            "disks": described(settings.disks),
            "cpus": settings.cpus,
            "memory_mib": settings.memory_mib,
            "nics": [{"network": card.network, "mac": card.mac} for card in order.cards],
            "paused": order.paused,
        }
        async with steps.step(f"start-{order.kind}-machine"):
            await self.calls.at(order.session.at_receiver, "start-machine", document)
        return point

    async def stop_machine(self, machine: Machine, name: str) -> None:
        """Stop a machine of the recovery host. Raises JobError."""
        await self.calls.require_off(recovery_host_of(machine), name, "shutdown")

    async def remove_machine(self, machine: Machine, name: str) -> None:
        """Remove a machine of the recovery host. Raises JobError."""
        arguments = {"guest": name, "disks": described(machine.settings.disks)}
        await self.calls.at(recovery_host_of(machine), "remove-machine", arguments)

    async def commit(self, machine: Machine, session: Session, steps: Steps) -> None:
        """Close the stream and delete the replica disks: the machine runs on copies. Raises JobError."""
        async with steps.step("close-stream-at-recovery-host"):
            await self.close(session)
        async with steps.step("delete-replica-disks"):
            await self._delete_disks(machine)

    async def close(self, session: Session) -> None:
        """Close the stream at its receiver. Raises JobError."""
        await self.calls.close_stream(session)

    async def delete_replica(self, machine: Machine) -> None:
        """Delete the replica disks, and what an earlier failover has left. Raises JobError."""
        await self._delete_disks(machine)
        await self.remove_machine(machine, machine.replica_name)

    async def _delete_disks(self, machine: Machine) -> None:
        arguments = {"machine": machine.name, "disks": described(machine.settings.disks)}
        await self.calls.at(recovery_host_of(machine), "delete-replica-disks", arguments)


def source_of(machine: Machine) -> HostSettings:
    """Return the host from which a machine is replicated. Raises JobError: it is not."""
    if machine.settings.host is None:
        raise JobError("no-host", f"{machine.name} is not replicated from its host")
    return machine.settings.host


def recovery_host_of(machine: Machine) -> Server:
    """Return the host to which a machine is replicated. Raises JobError: it goes elsewhere."""
    if machine.settings.recovery_host is None:
        raise JobError("no-recovery-host", f"{machine.name} is not replicated to a host")
    return machine.settings.recovery_host
