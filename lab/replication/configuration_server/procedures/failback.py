"""The way back: reverse replication, failback to the original machine, commit (seed L79, L142, domain 4.7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lab.replication.configuration_server.discovery import require_vmware
from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.fabric_client import FabricClient
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.procedures.parts import Workshop
from lab.replication.configuration_server.procedures.protect import discard_sessions, fresh_attributes
from lab.replication.configuration_server.procedures.readiness import Readiness, only, refusal
from lab.replication.configuration_server.selection import Selector, selector_of
from lab.replication.configuration_server.sessions import REVERSE, Session, TargetDisk, new_stream_id
from lab.replication.configuration_server.settings import Failback as FailbackServers
from lab.replication.configuration_server.states import Operation
from lab.replication.configuration_server.steps import Steps
from lab.replication.configuration_server.targets.site_machines import (
    copied_disk,
    create_machine,
    empty_disks,
    require_off,
)


@dataclass(frozen=True)
class Reprotect:
    """Replicate from the replica machine to the disks of the original machine."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require the servers of the way back (V2A-FB-PREREQ, V2S-MT-FAILBACK)."""
        only(arguments)
        servers = self._servers(machine)
        self.readiness.need(
            machine,
            Operation.REPROTECT,
            f"process-server-{servers.process_server.name}",
            f"master-target-{servers.master_target.name}",
            fabrics=self.readiness.fabrics_of_failback(machine, Operation.REPROTECT),
        )
        if machine.switched_by_owner and machine.returns_as == machine.home:
            message = "nothing can plug disks into a physical machine: it comes back as a VMware machine only"
            raise refusal(machine, Operation.REPROTECT, message, reason="not-supported")
        self.readiness.room(machine, Operation.REPROTECT, servers.master_target)

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> None:  # noqa: ARG002
        """The original has to be off: its disks become the target, and it must not write to them."""
        workshop, settings = self.workshop, machine.settings
        policy = workshop.machines.policy(settings.policy)
        if settings.azure is not None:
            async with steps.step("find-vmware-host"):
                await require_vmware(workshop.fabrics, machine)
        await discard_sessions(workshop, machine, steps)
        await self._power_off(machine, steps)
        session = self._session(machine)
        workshop.sessions.add(session)
        returning = asdict(machine.returns_as)
        workshop.machines.remember(machine.name, **fresh_attributes(session), rolled_back_to=None, returning=returning)
        session = await self._with_disks(machine, session, steps)
        new = machine.returns_as != machine.home
        async with steps.step("open-stream-at-master-target"):
            await workshop.calls.open_at_master_target(session, policy, fresh=new)
        async with steps.step("open-stream-at-process-server"):
            await workshop.open_at_process_server(session, policy)
        async with steps.step("start-replication"):
            # The original's own network configuration is on the replica's disk already; a new machine has other cards.
            await workshop.calls.start_replication(
                session,
                policy,
                settings.disks,
                mode="copy" if new else "checksum",
                cards=settings.failback_nics if new else (),
                group=workshop.group_order(session),
            )

    async def _power_off(self, machine: Machine, steps: Steps) -> None:
        """Also of a machine that does not come back as itself: two that run would be one too many."""
        home = machine.home
        if machine.switched_by_owner:
            async with steps.step("leave-power-of-original-to-its-owner"):
                return
        fabric = self.workshop.fabrics[home.fabric]
        async with steps.step("power-off-original"):
            await fabric.power(home.name, "off")
            await require_off(fabric, home.name)

    def _servers(self, machine: Machine) -> FailbackServers:
        if machine.settings.failback is None:
            message = "the settings have no 'failback': a process server and a master target in the primary site"
            raise refusal(machine, Operation.REPROTECT, message)
        return machine.settings.failback

    def _session(self, machine: Machine) -> Session:
        servers = self._servers(machine)
        return Session(
            stream=new_stream_id(),
            machine=machine.name,
            direction=REVERSE,
            process_server=servers.process_server,
            master_target=servers.master_target,
            fabric=machine.settings.failback_fabric,
        )

    async def _with_disks(self, machine: Machine, session: Session, steps: Steps) -> Session:
        fabric, target = self.workshop.fabrics[session.fabric], session.at_master_target.name
        if machine.returns_as == machine.home:
            async with steps.step("move-original-disks"):
                complete = session.with_disks(await self._moved(machine, session, fabric))
        else:
            async with steps.step("create-disks-of-new-machine"):
                names = [copied_disk(machine.returned_name, disk) for disk in machine.settings.disks]
                made = await empty_disks(fabric, target, machine.settings.disks, names)
                complete = session.with_disks(made)
        self.workshop.sessions.update(complete)
        return complete

    async def _moved(self, machine: Machine, session: Session, fabric: FabricClient) -> list[TargetDisk]:
        names = await self._original_disks(machine, fabric)
        disks = []
        for disk in machine.settings.disks:
            name = names[disk.serial]
            await fabric.detach_disk(name)
            serial = await fabric.attach_disk(name, session.at_master_target.name)
            disks.append(TargetDisk(disk.index, disk.name, disk.size, name, serial))
        return disks

    async def _original_disks(self, machine: Machine, fabric: FabricClient) -> dict[str, str]:
        """Return serial to disk name; written down before the first disk leaves the machine."""
        remembered: dict[str, str] = dict(machine.attributes.get("original_disks") or {})
        if remembered:
            return remembered
        home = machine.home.name
        found = await fabric.machine(home)
        attached = {disk["serial"]: disk["disk"] for disk in (found or {}).get("disks", ())}
        missing = [disk.serial for disk in machine.settings.disks if disk.serial not in attached]
        if missing:
            raise JobError("disk-missing", f"{home} has no disk with serial {', '.join(missing)}")
        wanted = {disk.serial: attached[disk.serial] for disk in machine.settings.disks}
        self.workshop.machines.remember(machine.name, original_disks=wanted)
        return wanted


@dataclass(frozen=True)
class Failback:
    """Unplanned failover in the other direction: the original, or a new machine, starts on what the replica wrote."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a recovery point."""
        only(arguments, "recovery_point")
        if "rolled_back_to" not in machine.attributes:
            self.readiness.point(machine, Operation.FAILBACK, selector_of(arguments))

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> None:
        """Disks that were rolled are never rolled again: the original may have started already."""
        workshop = self.workshop
        session = self.readiness.session(machine, Operation.FAILBACK)
        if machine.attributes.get("rolled_back_to") is None:
            await self._stop_and_roll(machine, session, selector_of(arguments), steps)
        fabric = workshop.fabrics[session.fabric]
        if machine.returns_as != machine.home:
            async with steps.step("start-new-machine"):
                await self._start_new(machine, session, fabric)
            return
        async with steps.step("move-disks-to-original"):
            serials = {disk.index: disk.serial for disk in machine.settings.disks}
            for disk in session.disks:
                await fabric.detach_disk(disk.disk)
            for disk in sorted(session.disks, key=lambda each: each.index):
                await fabric.attach_disk(disk.disk, machine.home.name, serials[disk.index])
        async with steps.step("start-original"):
            await fabric.power(machine.home.name, "on")

    async def _start_new(self, machine: Machine, session: Session, fabric: FabricClient) -> None:
        """Take the disks from the master target; one of that name from an earlier attempt runs on the same disks."""
        name = machine.returned_name
        await fabric.power(name, "off", may_be_missing=True)
        await fabric.delete_machine(name)
        for disk in session.disks:
            await fabric.detach_disk(disk.disk)
        await create_machine(fabric, machine, name, session.disks, machine.settings.failback_nics)

    async def _stop_and_roll(self, machine: Machine, session: Session, selector: Selector, steps: Steps) -> None:
        workshop = self.workshop
        await steps.attempt("cut", workshop.cut_and_publish(session))
        stop = workshop.targets.of_machine(machine).stop_machine(machine, machine.replica_name)
        await steps.attempt("stop-replica-machine", stop)
        last = await workshop.end_replication(machine, session, selector, steps)
        point = await workshop.settled_point(session, selector, last)
        async with steps.step("roll"):
            await workshop.calls.roll(session, point.id, {disk.index: disk.serial for disk in session.disks})
        workshop.machines.remember(machine.name, rolled_back_to=point.id, recovery_point=point.id)


@dataclass(frozen=True)
class CommitFailback:
    """The workload is at home again: the replica machine and all recovery points go."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a session."""
        only(arguments)
        self.readiness.session(machine, Operation.COMMIT_FAILBACK)

    async def run(
        self,
        machine: Machine,
        arguments: Mapping[str, Any],  # noqa: ARG002
        steps: Steps,
    ) -> Mapping[str, Any]:
        """Remove the replica; protection has to be enabled again (V2A-FB-REENABLE)."""
        workshop = self.workshop
        session = self.readiness.session(machine, Operation.COMMIT_FAILBACK)
        # The disks came home with an agent that still believes in the reverse stream.
        await steps.attempt("stop-replication", workshop.calls.stop_replication(session))
        async with steps.step("close-stream-at-master-target"):
            await workshop.calls.close_at_master_target(session)
        workshop.sessions.close(session.stream)
        async with steps.step("remove-replica-machine"):
            await workshop.targets.of_machine(machine).remove_machine(machine, machine.replica_name)
        home = machine.returns_as
        made = home if home.fabric != machine.settings.primary_fabric else None
        forgotten = (
            "replica_machine",
            "original_disks",
            "rolled_back_to",
            "returning",
            "test_failover",
            "failed_over_untested",
        )
        remembered = {**fresh_attributes(None), **dict.fromkeys(forgotten)}
        return {**remembered, "home": asdict(made) if made else None}
