"""A site of one's own: a master target writes replica disks, a fabric makes machines of copies of them (seed L142).

A replica machine runs on copies of the replica disks. They cost the time of a copy, but the replica disks stay what
they are, so until the commit any recovery point can still be chosen, a newer one too: a machine that has run on a
disk has changed blocks that no undo log knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.calls import Calls
from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.fabric_client import FabricClient, Fabrics
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.policies import Policy
from lab.replication.configuration_server.sessions import FORWARD, Point, Session, SessionTable, TargetDisk
from lab.replication.configuration_server.settings import ProtectedDisk
from lab.replication.configuration_server.steps import Steps
from lab.replication.configuration_server.targets.protocol import Order
from lab.replication.configuration_server.targets.site_machines import (
    copied_disk,
    create_machine,
    empty_disks,
    remove_machine,
    stop_machine,
)
from lab.replication.support.matrix import SECONDARY_SITE, Matrix, load_matrix


@dataclass(frozen=True)
class Copies:
    """Clones of all replica disks, of one instant: after document ``applied``."""

    disks: tuple[TargetDisk, ...]
    applied: int


@dataclass(frozen=True)
class SiteTarget:
    """Master targets and fabrics; the session says which."""

    calls: Calls
    fabrics: Fabrics
    sessions: SessionTable

    label = "master-target"

    @property
    def matrix(self) -> Matrix:
        """What is supported towards a secondary site."""
        return load_matrix(SECONDARY_SITE)

    def refusal_of_growth(self) -> None:
        """Replica disks can grow."""

    def session(self, machine: Machine, stream: str) -> Session:
        """Return a new session to the machine's master target."""
        settings = machine.settings
        return Session(
            stream=stream,
            machine=machine.name,
            direction=FORWARD,
            process_server=settings.process_server,
            master_target=settings.site.master_target,
            fabric=settings.site.recovery_fabric,
        )

    async def prepare(self, machine: Machine, session: Session, policy: Policy, steps: Steps) -> Session:
        """Make replica disks in the master target. Raises JobError."""
        async with steps.step("create-replica-disks"):
            session = await self._with_disks(machine, session)
        async with steps.step("open-stream-at-master-target"):
            await self.calls.open_at_master_target(session, policy, fresh=True)
        return session

    async def reopen(self, session: Session, policy: Policy) -> None:
        """Open the stream again; its data stays. Raises JobError."""
        await self.calls.open_at_master_target(session, policy, fresh=False)

    async def grow(self, session: Session) -> None:
        """Have the fabric grow the disks. Raises JobError."""
        for disk in session.disks:
            await self._fabric(session).grow_disk(disk.disk, disk.size)

    async def destination(self, session: Session, policy: Policy) -> Mapping[str, Any]:
        """Return the address of the master target. Raises JobError."""
        return self.calls.master_target_address(session, policy)

    async def settle(self, session: Session, sequence: int) -> None:
        """Do nothing: a process server's drain ends when the master target has applied all."""

    async def start_machine(self, order: Order, steps: Steps) -> Point:
        """Clone, roll the clones, start a machine on them. Raises JobError."""
        async with steps.step("copy-replica-disks"):
            copies = await self._copy_disks(order.machine, order.session, order.name)
        point = await order.pick()
        if point.sequence != copies.applied:
            async with steps.step("roll-copies"):
                await self._roll_copies(order.session, copies, point)
        async with steps.step(f"start-{order.kind}-machine"):
            await create_machine(self._fabric(order.session), order.machine, order.name, copies.disks, order.cards)
        return point

    async def stop_machine(self, machine: Machine, name: str) -> None:
        """Stop a machine of the recovery site. Raises JobError."""
        await stop_machine(self.fabrics[machine.settings.site.recovery_fabric], name)

    async def remove_machine(self, machine: Machine, name: str) -> None:
        """Remove a machine of the recovery site. Raises JobError."""
        await remove_machine(self.fabrics[machine.settings.site.recovery_fabric], machine, name)

    async def commit(self, machine: Machine, session: Session, steps: Steps) -> None:  # noqa: ARG002
        """Close the stream and delete the replica disks. Raises JobError."""
        async with steps.step("close-stream-at-master-target"):
            await self.close(session)
        async with steps.step("delete-replica-disks"):
            fabric = self._fabric(session)
            for disk in session.disks:
                await fabric.detach_disk(disk.disk)
                await fabric.delete_disk(disk.disk)

    async def close(self, session: Session) -> None:
        """Close the stream at its master target. Raises JobError."""
        await self.calls.close_at_master_target(session)

    async def delete_replica(self, machine: Machine) -> None:
        """Delete the replica disks. Raises JobError."""
        fabric = self.fabrics[machine.settings.site.recovery_fabric]
        for disk in machine.settings.disks:
            await fabric.detach_disk(replica_disk(machine, disk))
            await fabric.delete_disk(replica_disk(machine, disk))

    def _fabric(self, session: Session) -> FabricClient:
        return self.fabrics[session.fabric]

    async def _with_disks(self, machine: Machine, session: Session) -> Session:
        names = [replica_disk(machine, disk) for disk in machine.settings.disks]
        target = session.at_master_target.name
        complete = session.with_disks(await empty_disks(self._fabric(session), target, machine.settings.disks, names))
        self.sessions.update(complete)
        return complete

    async def _copy_disks(self, machine: Machine, session: Session, name: str) -> Copies:
        """Clone all replica disks of one instant for the machine ``name``; replication goes on afterwards."""
        # Not ``finally``: when this server is stopped it must not wait for others, and a barrier lifts itself.
        try:
            copies = await self._clone_held(machine, session, name)
        except JobError:
            await self.calls.release_copies(session)
            raise
        await self.calls.release_copies(session)
        return copies

    async def _clone_held(self, machine: Machine, session: Session, name: str) -> Copies:
        fabric = self._fabric(session)
        names = {disk.index: copied_disk(name, disk) for disk in machine.settings.disks}
        copies = [TargetDisk(disk.index, disk.name, disk.size, names[disk.index], "") for disk in session.disks]
        applied = await self.calls.hold_copies(session)
        for disk, copy in zip(session.disks, copies, strict=True):
            await fabric.delete_disk(copy.disk)
            await fabric.clone_disk(disk.disk, copy.disk)
            # A barrier lifts itself after a while; held again before that, and the same number proves it.
            if await self.calls.hold_copies(session) != applied:
                raise JobError("copy-torn", f"{session.stream} went on while its disks were copied")
        return Copies(tuple(copies), applied)

    async def _roll_copies(self, session: Session, copies: Copies, point: Point) -> None:
        """Turn copies into a recovery point: only the master target has the undo log."""
        try:
            fabric, target = self._fabric(session), session.at_master_target.name
            serials = {copy.index: await fabric.attach_disk(copy.disk, target) for copy in copies.disks}
            await self.calls.roll(session, point.id, serials)
        except JobError:
            await self._detach(session, copies)
            raise
        await self._detach(session, copies)

    async def _detach(self, session: Session, copies: Copies) -> None:
        for copy in copies.disks:
            await self._fabric(session).detach_disk(copy.disk)


def replica_disk(machine: Machine, disk: ProtectedDisk) -> str:
    """Return the name of the disk that a master target writes."""
    return f"{machine.name}-{disk.name}-replica"
