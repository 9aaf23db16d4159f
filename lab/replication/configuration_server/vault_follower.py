"""Following the vault from here: its events, and signatures before they end. The vault itself calls nobody."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field

from lab.replication.common.signals import set_within
from lab.replication.configuration_server.deployment import Deployment
from lab.replication.configuration_server.errors import ControlError, JobError
from lab.replication.configuration_server.jobs import JobRunner
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.procedures.parts import Workshop
from lab.replication.configuration_server.reports import Reports
from lab.replication.configuration_server.sessions import Session
from lab.replication.configuration_server.states import State
from lab.replication.configuration_server.vault_client import VaultClient

log = logging.getLogger(__name__)

WAIT_S = 15.0
PAUSE_S = 2.0
RENEWING = (State.INITIAL_REPLICATION, State.PROTECTED)


@dataclass
class VaultFollower:
    """Two loops; ``stop`` ends them."""

    vault: VaultClient
    deployment: Deployment
    reports: Reports
    workshop: Workshop
    jobs: JobRunner
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _due_ns: dict[str, int] = field(default_factory=dict)

    def start(self) -> None:
        """Begin to follow, inside an event loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._follow()), loop.create_task(self._renew())]

    async def stop(self) -> None:
        """End at once: pauses by the event, a call that waits for an answer by being cancelled."""
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def _pause(self, seconds: float) -> None:
        await set_within(self._stopping, seconds)

    async def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                events = await self.vault.events(self.deployment.cursor(), WAIT_S)
            except JobError as error:
                log.warning("%s", error)
                await self._pause(PAUSE_S)
                continue
            for event in events:
                with self.deployment.database.transaction():
                    self._take(event)
                    self.deployment.advance(int(event["id"]))

    def _take(self, event: dict[str, object]) -> None:
        try:
            self.reports.take_from_vault({key: event[key] for key in ("kind", "machine", "stream", "data")})
        except ControlError as error:
            # It would block all later ones for ever; the log is where it is kept.
            log.warning("event %s of the vault dropped: %s", event.get("id"), error)

    async def _renew(self) -> None:
        while not self._stopping.is_set():
            for machine in self.workshop.machines.all():
                session = self._renewable(machine)
                if session is not None:
                    await self._give_new_signature(machine, session)
            await self._pause(WAIT_S)

    def _renewable(self, machine: Machine) -> Session | None:
        """Return the session whose signature is due; opening a stream that was fenced would lift the fence."""
        session = self.workshop.sessions.find(machine.attributes.get("stream"))
        if session is None or not (session.azure and session.open) or machine.state not in RENEWING:
            return None
        if machine.attributes.get("drained") == session.stream or self.jobs.running(machine.name):
            return None
        return session if self._due_ns.get(session.stream, 0) <= time.time_ns() else None

    async def _give_new_signature(self, machine: Machine, session: Session) -> None:
        policy = self.workshop.machines.policy(machine.settings.policy)
        try:
            destination = await self.workshop.targets.of(session).destination(session, policy)
            # Asked again: a job may have begun while the vault was making the signature.
            if self._renewable(self.workshop.machines.get(machine.name)) is None:
                return
            await self.workshop.calls.open_at_process_server(session, policy, destination)
        except JobError as error:
            log.warning("stream %s keeps its old signature for now: %s", session.stream, error)
            return
        now = time.time_ns()
        # At half of its life, so that several attempts fit into the other half.
        self._due_ns[session.stream] = now + (int(destination["storage"]["expires_ns"]) - now) // 2
