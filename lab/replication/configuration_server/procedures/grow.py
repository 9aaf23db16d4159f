"""Making replica disks as large as the disks that have grown, so that their stream can be resynchronised (domain 2.4).

The agent has stopped sending and waits for an order with the new sizes. Recovery points from before stay: their undo
files say what the old part of a disk was, and what was added reads as zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.procedures.parts import Workshop
from lab.replication.configuration_server.procedures.protect import tell_agent
from lab.replication.configuration_server.procedures.readiness import Readiness, only, refusal
from lab.replication.configuration_server.sessions import Session
from lab.replication.configuration_server.states import Operation
from lab.replication.configuration_server.steps import Steps


@dataclass(frozen=True)
class GrowDisks:
    """Grow replica disks to what the agent has reported, and open the stream anew with the new sizes."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require a disk that has grown."""
        only(arguments)
        session = self.readiness.session(machine, Operation.GROW_DISKS)
        problem = self.workshop.targets.of(session).refusal_of_growth()
        if problem is not None:
            raise refusal(machine, Operation.GROW_DISKS, f"{machine.name}: {problem}", reason="not-supported")
        if not machine.attributes.get("grown_disks"):
            raise refusal(machine, Operation.GROW_DISKS, f"no disk of {machine.name} has outgrown its replica")

    async def run(
        self,
        machine: Machine,
        arguments: Mapping[str, Any],  # noqa: ARG002
        steps: Steps,
    ) -> Mapping[str, Any]:
        """Each step can be done again: what failed in the middle is started anew from the first."""
        workshop = self.workshop
        before = self.readiness.session(machine, Operation.GROW_DISKS)
        session = _grown(before, machine.attributes["grown_disks"])
        policy = workshop.machines.policy(machine.settings.policy)
        target = workshop.targets.of(session)
        async with steps.step("grow-replica-disks"):
            await target.grow(session)
        self._remember(machine, session)
        async with steps.step(f"open-stream-at-{target.label}"):
            await target.reopen(session, policy)
        async with steps.step("start-replication"):
            await tell_agent(workshop, workshop.machines.get(machine.name), session, policy)
        return {"grown_disks": None}

    def _remember(self, machine: Machine, session: Session) -> None:
        """The settings follow the disks: whatever is made of this machine later has the new sizes."""
        sizes = {disk.index: disk.size for disk in session.disks}
        disks = [{**disk, "size": sizes[disk["index"]]} for disk in machine.document["disks"]]
        with self.workshop.sessions.together():
            self.workshop.sessions.update(session)
            self.workshop.machines.put(machine.name, {**machine.document, "disks": disks})


def _grown(session: Session, noted: Mapping[str, int]) -> Session:
    """Return the session with the new sizes; the attribute has indices as text, because it was JSON."""
    return session.with_disks(
        [replace(disk, size=max(disk.size, noted.get(str(disk.index), 0))) for disk in session.disks]
    )
