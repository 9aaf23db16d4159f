"""Moving a machine to another master target of the same site while it is replicated, without a gap in its points.

The process server takes in nothing new and passes on what it has; the agent keeps its changes meanwhile. Recovery
points and undo log go over on a disk, then the replica disks themselves; the same stream goes on at the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lab.replication.configuration_server.errors import BadRequest, JobError
from lab.replication.configuration_server.jobs import Procedure
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.policies import Policy
from lab.replication.configuration_server.procedures.parts import Workshop
from lab.replication.configuration_server.procedures.readiness import Readiness, only, refusal
from lab.replication.configuration_server.sessions import Session
from lab.replication.configuration_server.settings import Server
from lab.replication.configuration_server.settings_document import parse_settings
from lab.replication.configuration_server.states import Operation
from lab.replication.configuration_server.steps import Steps

KEY = "master_target"
MIB = 1 << 20


@dataclass(frozen=True)
class MoveEither:
    """``move`` with ``process_server`` or with ``master_target``; one at a time, and none while one is unfinished."""

    process_server: Procedure
    master_target: Procedure

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require exactly one of both."""
        if KEY in arguments and "process_server" in arguments:
            raise BadRequest("process_server, master_target: a machine moves to one server at a time")
        unfinished = "moving_from" if KEY in arguments else "moving_target_from"
        if machine.attributes.get(unfinished) is not None:
            message = f"an earlier move of {machine.name} was not finished: repeat it, or send the machine back first"
            raise refusal(machine, Operation.MOVE, message)
        self._of(arguments).check(machine, arguments)

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any] | None:
        """Do the one that is meant."""
        return await self._of(arguments).run(machine, arguments, steps)

    def _of(self, arguments: Mapping[str, Any]) -> Procedure:
        return self.master_target if KEY in arguments else self.process_server


@dataclass(frozen=True)
class MoveTarget:
    """Hand the replica of a machine over to another master target."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a master target that is registered and has room, and no resynchronisation."""
        if machine.settings.azure is not None:
            message = f"{machine.name} is replicated to Azure, where no master target takes part"
            raise refusal(machine, Operation.MOVE, message, reason="not-supported")
        wanted = _wanted(machine, arguments)
        self.readiness.need(machine, Operation.MOVE, f"master-target-{wanted.name}")
        self.readiness.session(machine, Operation.MOVE)
        self.readiness.room(machine, Operation.MOVE, wanted)
        if machine.attributes.get("resynchronising"):
            raise refusal(machine, Operation.MOVE, f"{machine.name} is being resynchronised")

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any]:
        """Until the new master target has the stream, a failure takes everything back to the old one.

        From then on there is only the way forward: the new one may have data that the old one never saw. Whoever
        wants to go back moves again.
        """
        workshop = self.workshop
        policy = workshop.machines.policy(machine.settings.policy)
        session = self.readiness.session(machine, Operation.MOVE)
        earlier = machine.attributes.get("moving_target_from")
        before = replace(session, master_target=Server(**earlier)) if earlier else session
        after = replace(session, master_target=_wanted(machine, arguments))
        if before.at_master_target.name == after.at_master_target.name:
            if earlier:
                await self._close_at_new(before, session, steps)
                async with steps.step("give-back"):
                    await self._restore(machine, before, policy)
        else:
            workshop.machines.remember(machine.name, moving_target_from=vars(before.at_master_target))
            after = await self._hand_over(machine, before, after, policy, steps)
            workshop.machines.remember(
                machine.name, moving_target_from=None, left_master_target=vars(before.at_master_target)
            )
        await self._go_on(machine, self.readiness.session(machine, Operation.MOVE), policy, steps)
        return {"moving_target_from": None, "left_master_target": None, "broken_links": None}

    async def _hand_over(
        self, machine: Machine, before: Session, after: Session, policy: Policy, steps: Steps
    ) -> Session:
        workshop = self.workshop
        try:
            async with steps.step("drain"):
                await workshop.calls.seal(before)
                last = await workshop.calls.drain(before)
            async with steps.step("hand-over-recovery-points"):
                await self._carry(machine, before, after, last + 1)
            async with steps.step("move-replica-disks"):
                after = await self._with_disks(after)
            # Before it opens the stream: it may have points to report at once, and only the owner may.
            self._remember(machine, after)
            async with steps.step("open-stream-at-new-master-target"):
                await workshop.calls.open_at_master_target(after, policy, fresh=False)
        except JobError:
            await self._close_at_new(before, after, steps)
            await steps.attempt("give-back", self._restore(machine, before, policy))
            raise
        return after

    async def _carry(self, machine: Machine, before: Session, after: Session, first: int) -> None:
        fabric, calls = self.workshop.fabrics[before.fabric], self.workshop.calls
        disk = f"{machine.name}-handover-replica-copy"
        await fabric.detach_disk(disk)
        await fabric.delete_disk(disk)
        size = await calls.hand_over_size(before)
        await fabric.create_disk(disk, (size // MIB + 1) * MIB)
        archive = await calls.hand_over(before, await fabric.attach_disk(disk, before.at_master_target.name))
        await fabric.detach_disk(disk)
        await calls.take_over(after, await fabric.attach_disk(disk, after.at_master_target.name), archive, first)
        await fabric.detach_disk(disk)
        await fabric.delete_disk(disk)

    async def _with_disks(self, session: Session) -> Session:
        """Plug the replica disks into the session's master target; those that are there already stay."""
        fabric, target = self.workshop.fabrics[session.fabric], session.at_master_target.name
        there = {item["disk"] for item in (await fabric.machine(target) or {}).get("disks", ())}
        disks = []
        for disk in session.disks:
            if disk.disk not in there:
                await fabric.detach_disk(disk.disk)
            disks.append(replace(disk, serial=await fabric.attach_disk(disk.disk, target)))
        return session.with_disks(disks)

    async def _close_at_new(self, before: Session, after: Session, steps: Steps) -> None:
        if after.at_master_target.name != before.at_master_target.name:
            closing = self.workshop.calls.close_at_master_target(after)
            await steps.attempt("close-stream-at-new-master-target", closing)

    async def _restore(self, machine: Machine, before: Session, policy: Policy) -> None:
        """The old master target still has everything: the process server has sent nothing to another one."""
        restored = await self._with_disks(before)
        self._remember(machine, restored)
        await self.workshop.calls.open_at_master_target(restored, policy, fresh=False)
        await self.workshop.open_at_process_server(restored, policy)
        self.workshop.machines.remember(machine.name, moving_target_from=None)

    async def _go_on(self, machine: Machine, session: Session, policy: Policy, steps: Steps) -> None:
        """Let the process server send to the master target that the session has; it may have been told before."""
        workshop = self.workshop
        async with steps.step("open-stream-at-process-server"):
            await workshop.open_at_process_server(session, policy)
        left = workshop.machines.get(machine.name).attributes.get("left_master_target")
        if left is not None and left["name"] != session.at_master_target.name:
            old = replace(session, master_target=Server(**left))
            await steps.attempt("close-stream-at-old-master-target", workshop.calls.close_at_master_target(old))

    def _remember(self, machine: Machine, session: Session) -> None:
        """The settings follow the session: both say where the replica is."""
        target = {key: value for key, value in vars(session.at_master_target).items() if value is not None}
        document = self.workshop.machines.get(machine.name).document
        with self.workshop.sessions.together():
            self.workshop.sessions.update(session)
            self.workshop.machines.put(machine.name, {**document, KEY: target})


def _wanted(machine: Machine, arguments: Mapping[str, Any]) -> Server:
    """Read ``master_target``: ``{name, address}`` as in the settings.

    Raises:
        BadRequest: it is missing or wrong.
    """
    only(arguments, KEY)
    if arguments.get(KEY) is None:
        raise BadRequest("master_target: where the machine moves to has to be said")
    return parse_settings({**machine.document, KEY: arguments[KEY]}).site.master_target
