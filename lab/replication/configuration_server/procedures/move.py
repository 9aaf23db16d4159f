"""Moving a machine to another process server while it is replicated (seed L49: V2A-PS-SCALE).

No recovery point is lost: the old process server takes in nothing new and passes on what it has, while the agent
keeps its changes; then the same stream goes on at the new one with the next document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lab.replication.configuration_server.errors import BadRequest, JobError
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.policies import Policy
from lab.replication.configuration_server.procedures.parts import Workshop
from lab.replication.configuration_server.procedures.readiness import Readiness, only, refusal
from lab.replication.configuration_server.sessions import Session
from lab.replication.configuration_server.settings import Server
from lab.replication.configuration_server.settings_document import parse_settings
from lab.replication.configuration_server.states import Operation
from lab.replication.configuration_server.steps import Steps


@dataclass(frozen=True)
class Move:
    """Send the data of a machine over another process server."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a process server that is registered, and no resynchronisation."""
        server = _wanted(machine, arguments)
        self.readiness.need(machine, Operation.MOVE, f"process-server-{server.name}")
        self.readiness.session(machine, Operation.MOVE)
        if machine.attributes.get("resynchronising"):
            raise refusal(machine, Operation.MOVE, f"{machine.name} is being resynchronised")

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any]:
        """Until the new process server has the stream, a failure takes everything back to the old one."""
        workshop = self.workshop
        policy = workshop.machines.policy(machine.settings.policy)
        before = self.readiness.session(machine, Operation.MOVE)
        after = replace(before, process_server=_wanted(machine, arguments))
        if before.at_process_server.name == after.at_process_server.name:
            await self._settle(machine, before, policy, steps)
        else:
            workshop.machines.remember(machine.name, moving_from=vars(before.at_process_server))
            await self._hand_over(machine, before, after, policy, steps)
            await steps.attempt("close-stream-at-old-process-server", workshop.calls.close_at_process_server(before))
        return {"moving_from": None, "broken_links": None}

    async def _settle(self, machine: Machine, session: Session, policy: Policy, steps: Steps) -> None:
        """Finish what an earlier attempt has left: the way there at its end, or the way back."""
        left = machine.attributes.get("moving_from")
        if left is None:
            return
        if left["name"] == session.at_process_server.name:
            async with steps.step("give-back"):
                await self.workshop.targets.of(session).reopen(session, policy)
                await self.workshop.open_at_process_server(session, policy)
            await self._start(machine, session, policy, steps)
        else:
            earlier = replace(session, process_server=Server(**left))
            await steps.attempt(
                "close-stream-at-old-process-server", self.workshop.calls.close_at_process_server(earlier)
            )

    async def _hand_over(self, machine: Machine, before: Session, after: Session, policy: Policy, steps: Steps) -> None:
        workshop = self.workshop
        try:
            async with steps.step("drain-old-process-server"):
                await workshop.calls.seal(before)
                last = await workshop.calls.drain(before)
            target = workshop.targets.of(after)
            async with steps.step(f"open-stream-at-{target.label}"):
                await target.reopen(after, policy)
            async with steps.step("open-stream-at-new-process-server"):
                await workshop.open_at_process_server(after, policy, first=last + 1)
        except JobError:
            target = workshop.targets.of(before)
            await steps.attempt(f"give-back-to-{target.label}", target.reopen(before, policy))
            await steps.attempt("give-back", workshop.open_at_process_server(before, policy))
            raise
        await self._start(machine, after, policy, steps)
        self._remember(machine, after)

    async def _start(self, machine: Machine, session: Session, policy: Policy, steps: Steps) -> None:
        workshop, settings = self.workshop, machine.settings
        cards = (*settings.replica_nics, *settings.test_nics)
        async with steps.step("start-replication"):
            await workshop.calls.start_replication(
                session, policy, settings.disks, mode="copy", cards=cards, group=workshop.group_order(session)
            )

    def _remember(self, machine: Machine, session: Session) -> None:
        """The settings follow the session: both say where the data goes."""
        server = {key: value for key, value in vars(session.at_process_server).items() if value is not None}
        with self.workshop.sessions.together():
            self.workshop.sessions.update(session)
            self.workshop.machines.put(machine.name, {**machine.document, "process_server": server})


def _wanted(machine: Machine, arguments: Mapping[str, Any]) -> Server:
    """Read ``process_server``: ``{name, address}`` as in the settings.

    Raises:
        BadRequest: it is missing or wrong.
    """
    only(arguments, "process_server")
    if arguments.get("process_server") is None:
        raise BadRequest("process_server: where the machine moves to has to be said")
    return parse_settings({**machine.document, "process_server": arguments["process_server"]}).process_server
