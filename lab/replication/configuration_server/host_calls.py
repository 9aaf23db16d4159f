"""The commands to providers of hosts as typed calls; each returns when it was answered, or raises JobError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.commands import CommandQueue
from lab.replication.configuration_server.components import Registry
from lab.replication.configuration_server.config import Deadlines
from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.policies import Policy
from lab.replication.configuration_server.sessions import Session
from lab.replication.configuration_server.settings import ProtectedDisk, Server
from lab.replication.support.facts import SystemFacts

OFF = "off"


@dataclass(frozen=True)
class HostCalls:
    """Calls of providers. A session's source captures, its receiver keeps the replica."""

    queue: CommandQueue
    registry: Registry
    deadlines: Deadlines

    async def start_replication(
        self,
        session: Session,
        policy: Policy,
        disks: Sequence[ProtectedDisk],
        *,
        mode: str,
        destination: Mapping[str, Any],
        start_at_ns: int = 0,
    ) -> None:
        """Have the source replicate; ``destination`` may hold a secret."""
        await self._to_source(
            session,
            "start-replication",
            machine=session.guest,
            disks=described(disks),
            interval_s=policy.recovery_point_interval_s,
            application_interval_s=policy.application_consistent_interval_s,
            mode=mode,
            start_at_ns=start_at_ns,
            **destination,
        )

    async def renew(self, session: Session, destination: Mapping[str, Any]) -> None:
        """Give the source a new signature for the storage."""
        await self._to_source(session, "renew-storage", **destination)

    async def record_changes(self, session: Session, disks: Sequence[ProtectedDisk]) -> None:
        """Have the source record changes of a machine that is paused on disks that equal the replica."""
        await self._to_source(session, "record-changes", machine=session.guest, disks=described(disks))

    async def drain(self, session: Session, *, final: bool = False) -> int:
        """Wait until the other side has everything; ``final``: after one more cut. Returns the last document."""
        seconds = self.deadlines.drain
        value = await self._to_source(session, "drain", seconds, final=final, timeout_s=seconds * 0.9)
        return int(value.get("last_sequence") or 0)

    async def fence(self, session: Session) -> int | None:
        """Have the source stop, and the receiver take in nothing more: the second alone is enough.

        Returns:
            The last document that the receiver has applied, if there is one.

        Raises:
            JobError: the receiver does not answer; or, when the data goes to Azure, the source.
        """
        try:
            await self._to_source(session, "stop-replication")
        except JobError:
            if session.receiver is None:
                raise
        if session.receiver is None:
            return None
        return int((await self._to_receiver(session, "seal-stream", self.deadlines.drain)).get("applied") or 0)

    async def end_replications(self, host: Server, guest: str) -> None:
        """End whatever replication of a machine still runs on a host that was away when it ended elsewhere."""
        await self._call(host, "end-replications", {"machine": guest}, None)

    async def describe(self, host: Server, machine: str) -> dict[str, Any]:
        """Return what a machine of a host is."""
        return await self._call(host, "describe-machine", {"machine": machine}, None)

    async def describe_host(self, host: Server) -> SystemFacts:
        """Return what a host runs on now; what it does not say is unknown. Raises JobError."""
        return SystemFacts.from_json((await self._call(host, "describe-host", {}, None)).get("system") or {})

    async def power(self, host: Server, machine: str, action: str) -> str:
        """Switch a machine of a host; return its state."""
        arguments = {"machine": machine, "action": action}
        value = await self._call(host, "power", arguments, self.deadlines.shutdown * 2)
        return str(value["state"])

    async def require_off(self, host: Server, machine: str, action: str) -> None:
        """Switch a machine off, by ``action``. Raises JobError unless it is off afterwards."""
        state = await self.power(host, machine, action)
        if state != OFF:
            raise JobError("machine-not-off", f"{machine} has to be off, but it is {state}")

    async def open_stream(self, session: Session, policy: Policy, *, fresh: bool) -> None:
        """Open a stream at its receiver."""
        await self._to_receiver(
            session,
            "open-stream",
            machine=session.machine,
            data_port=policy.master_target_port,
            disks=[{"index": d.index, "name": d.name, "serial": d.serial, "size": d.size} for d in session.disks],
            **policy.retention.to_json(),
            process_server=session.at_source.name,
            authentication=policy.authentication,
            fresh=fresh,
        )

    async def places(
        self, session: Session, command: str, disks: Sequence[ProtectedDisk], **more: Any
    ) -> dict[int, str]:
        """Have the receiver make, adopt or take again replica disks; return their places by index."""
        arguments = {"machine": session.machine, "disks": described(disks), **more}
        value = await self._call(session.at_receiver, command, arguments, self.deadlines.roll)
        return {int(disk["index"]): str(disk["place"]) for disk in value["disks"]}

    async def roll(self, session: Session, point: str) -> None:
        """Turn the replica disks themselves into a recovery point; the stream is closed for data by that."""
        disks = [{"index": disk.index, "serial": disk.serial} for disk in session.disks]
        await self._to_receiver(session, "roll", self.deadlines.roll, recovery_point=point, disks=disks)

    async def close_stream(self, session: Session) -> None:
        """Close a stream at its receiver."""
        await self._to_receiver(session, "close-stream")

    async def at(self, host: Server, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Give a command that takes as long as a copy of disks."""
        return await self._call(host, command, dict(arguments), self.deadlines.roll)

    def receiver_address(self, session: Session, policy: Policy) -> dict[str, Any]:
        """Return how a source finds the receiver of a session, and proves there who it is. Raises JobError."""
        server = session.at_receiver
        address = address_of(self.registry, "provider", server)
        receiver = {"name": server.name, "address": address, "port": policy.master_target_port}
        return {"receiver": receiver, "authentication": policy.authentication}

    async def _to_source(
        self, session: Session, command: str, seconds: float | None = None, **arguments: Any
    ) -> dict[str, Any]:
        return await self._call(session.at_source, command, {"stream": session.stream, **arguments}, seconds)

    async def _to_receiver(
        self, session: Session, command: str, seconds: float | None = None, **arguments: Any
    ) -> dict[str, Any]:
        return await self._call(session.at_receiver, command, {"stream": session.stream, **arguments}, seconds)

    async def _call(
        self, host: Server, command: str, arguments: dict[str, Any], seconds: float | None
    ) -> dict[str, Any]:
        return await self.queue.call(
            f"provider-{host.name}",
            command,
            arguments,
            delivery=self.deadlines.delivery,
            deadline=seconds or self.deadlines.command,
        )


def described(disks: Sequence[ProtectedDisk]) -> list[dict[str, Any]]:
    """Return disks as commands name them."""
    return [{"index": disk.index, "name": disk.name, "serial": disk.serial, "size": disk.size} for disk in disks]


def address_of(registry: Registry, kind: str, server: Server) -> str:
    """Return where a server listens, as the settings or its registration say. Raises JobError."""
    if server.address is not None:
        return server.address
    component = registry.find(f"{kind}-{server.name}")
    if component is None or not component.addresses:
        raise JobError("component-unknown", f"no address of {kind} {server.name} is known")
    return component.addresses[0]
