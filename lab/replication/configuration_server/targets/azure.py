"""Azure: logs go to a storage account, the vault merges them and makes machines (seed L58-79)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.policies import Policy
from lab.replication.configuration_server.sessions import FORWARD, Point, Session, SessionTable, TargetDisk
from lab.replication.configuration_server.settings import AzureSettings
from lab.replication.configuration_server.steps import Steps
from lab.replication.configuration_server.targets.protocol import Order
from lab.replication.configuration_server.vault_client import VaultClient
from lab.replication.support.matrix import AZURE, Matrix, load_matrix

OFF = "off"


@dataclass(frozen=True)
class AzureTarget:
    """One vault."""

    vault: VaultClient
    sessions: SessionTable

    label = "vault"

    @property
    def matrix(self) -> Matrix:
        """What is supported towards Azure."""
        return load_matrix(AZURE)

    def refusal_of_growth(self) -> str:
        """Snapshots of another size cannot be put back, and a point has to have all of its disk."""
        return "a replica in Azure does not grow: disable the machine's replication and enable it again"

    def session(self, machine: Machine, stream: str) -> Session:
        """Return a new session to the vault."""
        host = machine.settings.host
        return Session(
            stream=stream,
            machine=machine.name,
            direction=FORWARD,
            process_server=machine.settings.process_server if host is None else None,
            master_target=None,
            fabric="",
            azure=True,
            source=host.source if host is not None else None,
            guest=(host.guest or machine.name) if host is not None else "",
        )

    async def prepare(self, machine: Machine, session: Session, policy: Policy, steps: Steps) -> Session:
        """Have the vault make the item with its blobs. Raises JobError."""
        disks = [TargetDisk(disk.index, disk.name, disk.size, "", disk.serial) for disk in machine.settings.disks]
        complete = session.with_disks(disks)
        self.sessions.update(complete)
        async with steps.step("enable-in-vault"):
            await self._put(complete, policy, machine)
        return complete

    async def reopen(self, session: Session, policy: Policy) -> None:
        """Tell the vault about the policy. Raises JobError."""
        await self.vault.change(session.stream, {**_described(session), **policy.retention.to_json()})

    async def grow(self, session: Session) -> None:  # noqa: ARG002
        """Refuse. Raises JobError."""
        raise JobError("not-supported", self.refusal_of_growth())

    async def destination(self, session: Session, policy: Policy) -> Mapping[str, Any]:  # noqa: ARG002
        """Return a new signature for the stream's container. Raises JobError."""
        return {"storage": await self.vault.access(session.stream)}

    async def settle(self, session: Session, sequence: int) -> None:
        """Wait until the vault has merged it. Raises JobError."""
        await self.vault.wait_merged(session.stream, sequence)

    async def start_machine(self, order: Order, steps: Steps) -> Point:
        """Have the vault make a machine over snapshots: nothing is copied. Raises JobError."""
        point = await order.pick()
        async with steps.step(f"start-{order.kind}-machine"):
            await self.vault.create_machine(_document(order, point))
        return point

    async def stop_machine(self, machine: Machine, name: str) -> None:  # noqa: ARG002
        """Stop a machine in Azure. Raises JobError."""
        try:
            await self.vault.power(name, "shutdown")
        except JobError:
            await self.vault.power(name, OFF)
        found = await self.vault.machine(name)
        if found is not None and found["state"] != OFF:
            raise JobError("machine-not-off", f"{name} has to be off, but it is {found['state']}")

    async def remove_machine(self, machine: Machine, name: str) -> None:  # noqa: ARG002
        """Remove a machine in Azure. Raises JobError."""
        await self.vault.delete_machine(name)

    async def commit(self, machine: Machine, session: Session, steps: Steps) -> None:
        """Remove the other points; the snapshots that the machine runs on stay until it is removed. Raises JobError."""
        async with steps.step("forget-points-in-vault"):
            await self.vault.forget_points(session.stream, machine.attributes.get("recovery_point"))
        async with steps.step("close-stream-at-vault"):
            await self.close(session)

    async def close(self, session: Session) -> None:
        """Close the stream; its container and, unless machines run on them, its blobs are deleted. Raises JobError."""
        await self.vault.disable(session.stream)

    async def delete_replica(self, machine: Machine) -> None:
        """Do nothing: the blobs of a stream go when it is closed."""

    async def _put(self, session: Session, policy: Policy, machine: Machine) -> None:
        settings = machine.settings
        cards = (*settings.replica_nics, *settings.test_nics)
        known = {
            "server": _azure(machine).server,
            "policy": settings.policy,
            "networks": sorted({*(card.network for card in cards if card.address is not None), *_outside(machine)}),
        }
        await self.vault.enable(session.stream, {**_described(session), **policy.retention.to_json(), **known})


def _described(session: Session) -> dict[str, Any]:
    disks = [{"index": d.index, "name": d.name, "size": d.size, "serial": d.serial} for d in session.disks]
    return {"machine": session.machine, "disks": disks}


def _azure(machine: Machine) -> AzureSettings:
    if machine.settings.azure is None:
        raise JobError("no-azure", f"{machine.name} is not replicated to Azure")
    return machine.settings.azure


def _outside(machine: Machine) -> list[str]:
    public = _azure(machine).public
    return [public.network] if public is not None else []


def _public(order: Order) -> dict[str, Any]:
    """Return where a replica is called from outside; a test copy is not."""
    public = _azure(order.machine).public
    inside = next((card for card in order.cards if card.address is not None), None)
    if public is None or inside is None or order.kind == "test":
        return {}
    return {
        "public": {
            "outside": public.network,
            "public": f"{public.address}/{public.prefix}",
            "inside": inside.network,
            "private": f"{inside.address}/{inside.prefix}",
        }
    }


def _document(order: Order, point: Point) -> dict[str, Any]:
    settings, cards = order.machine.settings, order.cards
    log = settings.change_log
    return {
        "name": order.name,
        "stream": order.session.stream,
        "recovery_point": point.id,
        "purpose": "test-failover" if order.kind == "test" else "failover",
        "cpus": settings.cpus,
        "memory_mib": settings.memory_mib,
        "disks": [{"name": disk.name, "serial": disk.serial, "size": disk.size} for disk in settings.disks],
        "change_log": None if log is None else {"size": log.size, "serial": log.serial},
        "nics": [{"network": card.network, "mac": card.mac} for card in cards if card.address is not None],
        "management_mac": next((card.mac for card in cards if card.address is None), None),
        **_public(order),
    }
