"""Pieces that several operations are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.calls import Calls
from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.fabric_client import FabricClient, Fabrics
from lab.replication.configuration_server.groups.table import GroupTable
from lab.replication.configuration_server.jobs import Steps
from lab.replication.configuration_server.machines import Machine, MachineTable
from lab.replication.configuration_server.selection import NoSuchPoint, Selector, select
from lab.replication.configuration_server.sessions import Point, Session, SessionTable, TargetDisk
from lab.replication.configuration_server.settings import Card, ProtectedDisk
from lab.replication.configuration_server.signals import Signal

LOOK_S = 1.0


@dataclass(frozen=True)
class Workshop:
    """The collaborators that procedures share; it decides nothing."""

    calls: Calls
    fabrics: Fabrics
    machines: MachineTable
    sessions: SessionTable
    groups: GroupTable
    news: Signal

    def group_order(self, session: Session) -> dict[str, Any] | None:
        """Return what the agent of a session is told about its group, None when it shares nothing."""
        group = self.groups.of(session.machine)
        return None if group is None else group.order(session.direction)

    async def close_session(self, session: Session, steps: Steps) -> None:
        """Close a stream at both servers, as far as they can be reached: their data is refused afterwards anyway."""
        await steps.attempt("close-stream-at-process-server", self.calls.close_at_process_server(session))
        await steps.attempt("close-stream-at-master-target", self.calls.close_at_master_target(session))
        self.sessions.close(session.stream)

    async def settled_point(self, session: Session, selector: Selector, last_sequence: int | None) -> Point:
        """Return the recovery point to use, after what was drained has been announced.

        Raises:
            JobError: there is no such point (any more).
        """
        if selector.wants_all_data and last_sequence:
            # A copy has no recovery point, so its number may never be announced: this wait is short and not an error.
            await self._announced(session, last_sequence, self.calls.deadlines.last_point)
        try:
            return select(self.sessions.points(session.stream), selector)
        except NoSuchPoint as error:
            raise JobError("unknown-recovery-point", f"stream {session.stream}: {error}") from error

    async def end_replication(self, machine: Machine, session: Session, selector: Selector, steps: Steps) -> int | None:
        """Drain and then fence the stream, once: what arrives later is data of a machine that was given up."""
        if machine.attributes.get("drained") == session.stream:
            return None
        last = await self._drain(session, selector, steps)
        await steps.attempt("close-stream-at-process-server", self.calls.close_at_process_server(session))
        self.machines.remember(machine.name, drained=session.stream)
        return last

    async def _drain(self, session: Session, selector: Selector, steps: Steps) -> int | None:
        """Have everything that was sent applied; only ``latest`` insists on it.

        Raises:
            JobError: the process server cannot do it, and the latest data is wanted.
        """
        if selector.wants_all_data:
            async with steps.step("drain"):
                try:
                    return await self.calls.drain(session)
                except JobError as error:
                    hint = f"{error}; recovery_point 'latest-processed' does without it"
                    raise JobError(error.kind, hint) from error
        await steps.attempt("drain", self.calls.drain(session))
        return None

    async def cut_and_publish(self, session: Session) -> None:
        """Have the agent make a recovery point, and wait until its master target has published it.

        What only the agent has would go down with its machine.

        Raises:
            JobError: there is no cut, or its point does not come.
        """
        sequence = int((await self.calls.cut(session)).get("sequence") or 0)
        if not await self._announced(session, sequence, self.calls.deadlines.drain):
            raise JobError("point-not-published", f"the cut of document {sequence} did not become a recovery point")

    async def _announced(self, session: Session, sequence: int, seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            points = self.sessions.points(session.stream)
            if points and (points[-1].sequence or 0) >= sequence:
                return True
            left = end - loop.time()
            if left <= 0:
                return False
            await self.news.wait(min(left, LOOK_S))


def replica_disk(machine: Machine, disk: ProtectedDisk) -> str:
    """Return the name of the disk that a master target writes."""
    return f"{machine.name}-{disk.name}-replica"


async def create_machine(
    fabric: FabricClient,
    machine: Machine,
    name: str,
    disks: Sequence[TargetDisk],
    cards: Sequence[Card],
) -> None:
    """Make a machine on copies of its disks, with an empty change-log disk, and switch it on."""
    serials = {disk.index: disk.serial for disk in machine.settings.disks}
    attachments = [{"disk": disk.disk, "serial": serials[disk.index]} for disk in disks]
    log = machine.settings.change_log
    if log is not None:
        await fabric.create_disk(change_log_disk(name), log.size)
        attachments.append({"disk": change_log_disk(name), "serial": log.serial})
    settings = machine.settings
    await fabric.create_machine(
        name, cpus=settings.cpus, memory_mib=settings.memory_mib, disks=attachments, cards=cards
    )
    await fabric.power(name, "on")


async def remove_machine(fabric: FabricClient, machine: Machine, name: str) -> None:
    """Cut the power of a created machine and remove it with all its disks, as far as they exist."""
    await fabric.power(name, "off", may_be_missing=True)
    await fabric.delete_machine(name)
    for disk in machine.settings.disks:
        copy = copied_disk(name, disk)
        await fabric.detach_disk(copy)
        await fabric.delete_disk(copy)
    await fabric.delete_disk(change_log_disk(name))


def change_log_disk(machine: str) -> str:
    """Return the name of the change-log disk of a created machine; the suffix shows the fabric that it was made."""
    stem, _, suffix = machine.rpartition("-")
    return f"{stem}-change-log-{suffix}-copy"


def copied_disk(machine: str, disk: ProtectedDisk) -> str:
    """Return the name of a disk of a created machine."""
    stem, _, suffix = machine.rpartition("-")
    return f"{stem}-{disk.name}-{suffix}-copy"


@dataclass(frozen=True)
class Copies:
    """Clones of all replica disks, of one instant: after document ``applied``."""

    disks: tuple[TargetDisk, ...]
    applied: int


async def copy_disks(workshop: Workshop, machine: Machine, session: Session, name: str) -> Copies:
    """Clone all replica disks of one instant for the machine ``name``; replication goes on afterwards.

    Raises:
        JobError: the master target did not hold still, or a clone failed.
    """
    # Not ``finally``: when this server is stopped it must not wait for others, and a barrier lifts itself.
    try:
        copies = await _clone_held(workshop, machine, session, name)
    except JobError:
        await workshop.calls.release_copies(session)
        raise
    await workshop.calls.release_copies(session)
    return copies


async def roll_copies(workshop: Workshop, session: Session, copies: Copies, point: Point) -> None:
    """Turn copies into a recovery point: only the master target has the undo log.

    Raises:
        JobError: a copy cannot be attached, or the master target cannot roll it.
    """
    try:
        await _roll_attached(workshop, session, copies, point)
    except JobError:
        await _detach(workshop, session, copies)
        raise
    await _detach(workshop, session, copies)


async def _clone_held(workshop: Workshop, machine: Machine, session: Session, name: str) -> Copies:
    fabric = workshop.fabrics[session.fabric]
    names = {disk.index: copied_disk(name, disk) for disk in machine.settings.disks}
    copies = [TargetDisk(disk.index, disk.name, disk.size, names[disk.index], "") for disk in session.disks]
    applied = await workshop.calls.hold_copies(session)
    for disk, copy in zip(session.disks, copies, strict=True):
        await fabric.delete_disk(copy.disk)
        await fabric.clone_disk(disk.disk, copy.disk)
        # A barrier lifts itself after a while; held again before that, and the same number proves it.
        if await workshop.calls.hold_copies(session) != applied:
            raise JobError("copy-torn", f"{session.stream} went on while its disks were copied")
    return Copies(tuple(copies), applied)


async def _roll_attached(workshop: Workshop, session: Session, copies: Copies, point: Point) -> None:
    fabric = workshop.fabrics[session.fabric]
    target = session.master_target.name
    serials = {copy.index: await fabric.attach_disk(copy.disk, target) for copy in copies.disks}
    await workshop.calls.roll(session, point.id, serials)


async def _detach(workshop: Workshop, session: Session, copies: Copies) -> None:
    for copy in copies.disks:
        await workshop.fabrics[session.fabric].detach_disk(copy.disk)
