"""Pieces that several operations are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.replication.common.signals import Signal
from lab.replication.configuration_server.calls import Calls
from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.fabric_client import Fabrics
from lab.replication.configuration_server.groups.table import GroupTable
from lab.replication.configuration_server.machines import Machine, MachineTable
from lab.replication.configuration_server.policies import Policy
from lab.replication.configuration_server.selection import NoSuchPoint, Selector, select
from lab.replication.configuration_server.sessions import Point, Session, SessionTable
from lab.replication.configuration_server.settings import Card
from lab.replication.configuration_server.steps import Steps
from lab.replication.configuration_server.targets.choice import Targets

LOOK_S = 1.0


@dataclass(frozen=True)
class Workshop:
    """The collaborators that procedures share; it decides nothing."""

    calls: Calls
    fabrics: Fabrics
    targets: Targets
    machines: MachineTable
    sessions: SessionTable
    groups: GroupTable
    news: Signal

    def group_order(self, session: Session) -> dict[str, Any] | None:
        """Return what the agent of a session is told about its group, None when it shares nothing."""
        group = self.groups.of(session.machine)
        return None if group is None else group.order(session.direction)

    async def start_replication(
        self, machine: Machine, session: Session, policy: Policy, *, mode: str, cards: Sequence[Card]
    ) -> None:
        """Have whoever captures the machine replicate it. Raises JobError."""
        disks = machine.settings.disks
        host = machine.settings.host
        if session.source is None or host is None:
            group = self.group_order(session)
            await self.calls.start_replication(session, policy, disks, mode=mode, cards=cards, group=group)
            return
        destination = await self.targets.of(session).destination(session, policy)
        await self.calls.hosts.start_replication(
            session, policy, disks, mode=mode, destination=destination, start_at_ns=host.start_at_ns
        )

    async def close_session(self, session: Session, steps: Steps) -> None:
        """Close a stream at both servers, as far as they can be reached: their data is refused afterwards anyway."""
        await steps.attempt(fencing(session), self.calls.close_at_process_server(session))
        target = self.targets.of(session)
        await steps.attempt(f"close-stream-at-{target.label}", target.close(session))
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
        kept = await self._fence(session, steps)
        self.machines.remember(machine.name, drained=session.stream)
        return kept if last is None and selector.wants_all_data else last

    async def _fence(self, session: Session, steps: Steps) -> int | None:
        kept = None

        async def close() -> None:
            nonlocal kept
            kept = await self.calls.close_at_process_server(session)

        await steps.attempt(fencing(session), close())
        return kept

    async def _drain(self, session: Session, selector: Selector, steps: Steps) -> int | None:
        """Have everything that was sent applied; only ``latest`` insists on it.

        From a host the source itself would have to send it: an unplanned failover does without (domain 2.2).

        Raises:
            JobError: the process server cannot do it, and the latest data is wanted.
        """
        if selector.wants_all_data and session.source is None:
            async with steps.step("drain"):
                try:
                    return await self._drain_through(session)
                except JobError as error:
                    hint = f"{error}; recovery_point 'latest-processed' does without it"
                    raise JobError(error.kind, hint) from error
        await steps.attempt("drain", self._drain_through(session))
        return None

    async def _drain_through(self, session: Session) -> int:
        last = await self.calls.drain(session)
        await self.targets.of(session).settle(session, last)
        return last

    async def open_carrier(self, session: Session, policy: Policy, steps: Steps) -> None:
        """Open a stream at its process server, if it has one. Raises JobError."""
        if session.source is None:
            async with steps.step("open-stream-at-process-server"):
                await self.open_at_process_server(session, policy)

    async def open_at_process_server(self, session: Session, policy: Policy, *, first: int | None = None) -> None:
        """Open a stream at its process server; ``first`` is its next document when it comes from another one.

        Raises:
            JobError: it cannot be done.
        """
        destination = await self.targets.of(session).destination(session, policy)
        await self.calls.open_at_process_server(session, policy, destination, first=first)

    async def cut_and_publish(self, session: Session) -> None:
        """Have the agent make a recovery point, and wait until its master target has published it.

        What only the agent has would go down with its machine.

        Raises:
            JobError: there is no cut, or its point does not come.
        """
        sequence = int((await self.calls.cut(session)).get("sequence") or 0)
        await self.published(session, sequence)

    async def published(self, session: Session, sequence: int) -> None:
        """Wait until a document has become a recovery point. Raises JobError."""
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


def fencing(session: Session) -> str:
    """Return what it is called in steps that no more data of a stream is taken in."""
    return "close-stream-at-process-server" if session.source is None else "fence-stream"
