"""The commands of the contract as typed calls: what is said to process servers, master targets and agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.commands import CommandQueue
from lab.replication.configuration_server.components import Registry
from lab.replication.configuration_server.config import Deadlines
from lab.replication.configuration_server.host_calls import HostCalls, address_of
from lab.replication.configuration_server.policies import Policy
from lab.replication.configuration_server.sessions import Session
from lab.replication.configuration_server.settings import Card, ProtectedDisk, Server


@dataclass(frozen=True)
class Calls:
    """Calls of components; each returns when the component has answered, or raises JobError."""

    queue: CommandQueue
    registry: Registry
    deadlines: Deadlines

    @property
    def hosts(self) -> HostCalls:
        """What is said to the providers of hosts."""
        return HostCalls(self.queue, self.registry, self.deadlines)

    async def push_install(self, process_server: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Have a process server install the mobility service on a machine (seed L52)."""
        return await self._call(
            f"process-server-{process_server}", "push-install", dict(arguments), self.deadlines.push_install
        )

    async def open_at_process_server(
        self, session: Session, policy: Policy, destination: Mapping[str, Any], *, first: int | None = None
    ) -> None:
        """Open a stream at its process server.

        Args:
            session: the stream.
            policy: says the port.
            destination: where the data goes from there; it may hold a secret.
            first: its next document, when it comes from another process server.
        """
        if session.source is not None:
            await self.hosts.renew(session, destination)
            return
        await self._to_process_server(
            session,
            "open-stream",
            machine=session.machine,
            data_port=policy.process_server_port,
            **destination,
            **({} if first is None else {"first": first}),
        )

    def master_target_address(self, session: Session, policy: Policy) -> dict[str, Any]:
        """Return how a process server finds the master target of a session. Raises JobError."""
        target = session.at_master_target
        address = self._address("master-target", target)
        return {"master_target": {"name": target.name, "address": address, "port": policy.master_target_port}}

    async def seal(self, session: Session) -> None:
        """Have a process server take in nothing new of a stream."""
        await self._to_process_server(session, "seal-stream")

    async def drain(self, session: Session) -> int:
        """Wait until everything cached is applied, and return the number of the last document."""
        if session.source is not None:
            return await self.hosts.drain(session)
        seconds = self.deadlines.drain
        value = await self._to_process_server(session, "drain", seconds, timeout_s=seconds * 0.9)
        return int(value.get("last_sequence") or 0)

    async def close_at_process_server(self, session: Session) -> int | None:
        """Close a stream at its process server, or fence it where there is none: its data is refused from now on.

        Returns:
            The last document that the other side has, if it says so.
        """
        if session.source is not None:
            return await self.hosts.fence(session)
        await self._to_process_server(session, "close-stream")
        return None

    async def open_at_master_target(self, session: Session, policy: Policy, *, fresh: bool) -> None:
        """Open a stream at its master target."""
        await self._to_master_target(
            session,
            "open-stream",
            machine=session.machine,
            data_port=policy.master_target_port,
            disks=[
                {"index": disk.index, "name": disk.name, "serial": disk.serial, "size": disk.size}
                for disk in session.disks
            ],
            **policy.retention.to_json(),
            process_server=session.at_process_server.name,
            fresh=fresh,
        )

    async def roll(self, session: Session, point: str, serials: Mapping[int, str]) -> None:
        """Turn the devices with these serials into a recovery point."""
        disks = [{"index": index, "serial": serial} for index, serial in sorted(serials.items())]
        await self._to_master_target(session, "roll", self.deadlines.roll, recovery_point=point, disks=disks)

    async def hold_copies(self, session: Session) -> int:
        """Keep the replica disks as they are, and return the number of the last document on them."""
        return int((await self._to_master_target(session, "copy-barrier", hold=True))["applied"])

    async def release_copies(self, session: Session) -> None:
        """Let the master target go on."""
        await self._to_master_target(session, "copy-barrier", hold=False)

    async def hand_over_size(self, session: Session) -> int:
        """Return how many bytes a disk for the points and the undo log of a stream needs."""
        return int((await self._to_master_target(session, "hand-over-size"))["bytes"])

    async def hand_over(self, session: Session, serial: str) -> dict[str, Any]:
        """Have a master target write points and undo log to a disk; it lets go of the replica disks."""
        return await self._to_master_target(session, "hand-over", self.deadlines.roll, serial=serial)

    async def take_over(self, session: Session, serial: str, archive: Mapping[str, Any], first: int) -> None:
        """Have another master target read them; ``first`` is the next document of the stream."""
        archived = {key: archive[key] for key in ("length", "sha256")}
        await self._to_master_target(session, "take-over", self.deadlines.roll, serial=serial, first=first, **archived)

    async def close_at_master_target(self, session: Session) -> None:
        """Close a stream at its master target; its undo log is deleted."""
        await self._to_master_target(session, "close-stream")

    async def start_replication(
        self,
        session: Session,
        policy: Policy,
        disks: Sequence[ProtectedDisk],
        *,
        mode: str,
        cards: Sequence[Card],
        group: Mapping[str, Any] | None,
    ) -> None:
        """Have the agent replicate; right after a failover its machine may still be starting."""
        server = session.at_process_server
        arguments = {
            "stream": session.stream,
            "disks": [
                {"index": disk.index, "name": disk.name, "serial": disk.serial, "size": disk.size} for disk in disks
            ],
            "process_server": {
                "name": server.name,
                "address": self._address("process-server", server),
                "port": policy.process_server_port,
            },
            "interval_s": policy.recovery_point_interval_s,
            "application_interval_s": policy.application_consistent_interval_s,
            "group": group,
            "mode": mode,
            # The management card asks DHCP and needs no file of its own.
            "replica_networks": [card.to_json() for card in cards if card.address is not None],
        }
        await self._call(
            f"mobility-{session.machine}",
            "start-replication",
            arguments,
            self.deadlines.command,
            delivery=self.deadlines.boot,
        )

    async def cut(self, session: Session, *, shared: bool = False, application: bool = False) -> dict[str, Any]:
        """Have the agent make a recovery point now; ``shared``: as coordinator of its group, with all members."""
        return await self._to_agent(session, "cut", shared=shared, application=application)

    async def resynchronise(self, session: Session) -> None:
        """Have the agent compare its disks with the replica."""
        await self._to_agent(session, "resynchronise")

    async def stop_replication(self, session: Session) -> None:
        """Have the agent stop."""
        await self._to_agent(session, "stop-replication")

    def _address(self, kind: str, server: Server) -> str:
        return address_of(self.registry, kind, server)

    async def _to_process_server(
        self, session: Session, command: str, seconds: float | None = None, **arguments: Any
    ) -> dict[str, Any]:
        component = f"process-server-{session.at_process_server.name}"
        return await self._call(component, command, {"stream": session.stream, **arguments}, seconds)

    async def _to_master_target(
        self, session: Session, command: str, seconds: float | None = None, **arguments: Any
    ) -> dict[str, Any]:
        component = f"master-target-{session.at_master_target.name}"
        return await self._call(component, command, {"stream": session.stream, **arguments}, seconds)

    async def _to_agent(self, session: Session, command: str, **arguments: Any) -> dict[str, Any]:
        agent = f"mobility-{session.machine}" if session.source is None else f"provider-{session.source.name}"
        return await self._call(agent, command, {"stream": session.stream, **arguments}, None)

    async def _call(
        self,
        component: str,
        command: str,
        arguments: dict[str, Any],
        seconds: float | None,
        *,
        delivery: float | None = None,
    ) -> dict[str, Any]:
        return await self.queue.call(
            component,
            command,
            arguments,
            delivery=delivery or self.deadlines.delivery,
            deadline=seconds or self.deadlines.command,
        )
