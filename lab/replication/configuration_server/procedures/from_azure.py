"""The way back from Azure to a host: a planned failover, to the same machine or to an alternate location (seed L111).

``data`` of the operation: ``synchronise`` (the default) compares and transfers while the machine in Azure still runs,
and only what changed meanwhile after it is off; ``download`` shuts it down first and transfers everything, without
digests (domain 2.4).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.errors import BadRequest, JobError
from lab.replication.configuration_server.host_calls import described
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.procedures.parts import Workshop
from lab.replication.configuration_server.procedures.planned import original_guest
from lab.replication.configuration_server.procedures.protect import fresh_attributes
from lab.replication.configuration_server.procedures.readiness import Readiness, only
from lab.replication.configuration_server.settings import Server
from lab.replication.configuration_server.states import Operation
from lab.replication.configuration_server.steps import Steps
from lab.replication.configuration_server.targets.host import source_of
from lab.replication.configuration_server.vault_client import VaultClient

ORIGINAL, ALTERNATE = "original", "alternate"
SYNCHRONISE, DOWNLOAD = "synchronise", "download"
COMPARE, EVERYTHING = "compare", "everything"


@dataclass(frozen=True)
class FailbackFromAzure:
    """Bring the disks of the machine in Azure to a host and start the machine there."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Require the provider of the host that is wanted."""
        only(arguments, "to", "host", "data")
        for key, known in (("to", (ORIGINAL, ALTERNATE)), ("data", (SYNCHRONISE, DOWNLOAD))):
            if arguments.get(key, known[0]) not in known:
                raise BadRequest(f"{key}: one of {', '.join(known)} is expected, not {arguments[key]!r}")
        if (arguments.get("to") == ALTERNATE) != isinstance(arguments.get("host"), str):
            raise BadRequest("host: is the name of another host, and belongs to 'to: alternate'")
        host = _host(machine, arguments)
        self.readiness.need(machine, Operation.FAILBACK, f"provider-{host.name}")

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any]:
        """Done again it begins with the disks anew: whoever writes to them meanwhile would spoil them."""
        host = _host(machine, arguments)
        places = await self._disks(machine, host, arguments, steps)
        compared = COMPARE if arguments.get("data", SYNCHRONISE) == SYNCHRONISE else EVERYTHING
        if compared == COMPARE:
            async with steps.step("synchronise"):
                await self._pull(machine, host, places, COMPARE)
        async with steps.step("shutdown-machine-in-azure"):
            await self.workshop.targets.of_machine(machine).stop_machine(machine, machine.replica_name)
        off_ns = time.time_ns()
        async with steps.step("transfer-last-changes" if compared == COMPARE else "download"):
            await self._pull(machine, host, places, compared)
        async with steps.step("start-machine"):
            await self._start(machine, host, places, arguments)
        return {"source_off_ns": off_ns}

    async def _disks(
        self, machine: Machine, host: Server, arguments: Mapping[str, Any], steps: Steps
    ) -> Mapping[int, str]:
        """Return where the disks on the host are: those of the original, or new ones."""
        hosts, disks = self.workshop.calls.hosts, described(machine.settings.disks)
        if arguments.get("to") == ALTERNATE:
            async with steps.step("create-disks"):
                value = await hosts.at(host, "create-replica-disks", {"machine": machine.name, "disks": disks})
                return _places(value)
        guest = original_guest(machine)
        async with steps.step("power-off-original"):
            await hosts.end_replications(host, guest)
            await hosts.require_off(host, guest, "off")
        async with steps.step("adopt-original-disks"):
            command = {"guest": guest, "machine": machine.name, "disks": disks}
            return _places(await hosts.at(host, "adopt-disks", command))

    async def _pull(self, machine: Machine, host: Server, places: Mapping[int, str], mode: str) -> None:
        vault = _vault(self.workshop)
        await vault.export(machine.replica_name, host.name)
        order = {
            "vault": vault.endpoint.to_json(),
            "source": machine.replica_name,
            "mode": mode,
            "disks": [{**disk, "place": places[disk["index"]]} for disk in described(machine.settings.disks)],
        }
        await self.workshop.calls.hosts.at(host, "pull-disks", order)

    async def _start(
        self, machine: Machine, host: Server, places: Mapping[int, str], arguments: Mapping[str, Any]
    ) -> None:
        hosts, settings = self.workshop.calls.hosts, machine.settings
        if arguments.get("to") != ALTERNATE:
            await hosts.power(host, original_guest(machine), "on")
            return
        document = {
            "guest": original_guest(machine),
            "machine": machine.name,
            "purpose": "failback",
            "disks": [{**disk, "place": places[disk["index"]]} for disk in described(settings.disks)],
            "cpus": settings.cpus,
            "memory_mib": settings.memory_mib,
            "nics": [{"network": card.network, "mac": card.mac} for card in settings.failback_nics],
        }
        await hosts.at(host, "start-guest", document)


@dataclass(frozen=True)
class CommitFromAzure:
    """The workload is on-premises again: what there is in Azure goes; replication has to be enabled again."""

    workshop: Workshop
    readiness: Readiness

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:  # noqa: ARG002 - nothing else is needed
        """Accept no arguments."""
        only(arguments)

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any]:  # noqa: ARG002
        """Remove the machine in Azure and what was written of it."""
        async with steps.step("end-export"):
            await _vault(self.workshop).end_export(machine.replica_name)
        async with steps.step("remove-replica-machine"):
            await self.workshop.targets.of_machine(machine).remove_machine(machine, machine.replica_name)
        forgotten = ("replica_machine", "test_failover", "failed_over_untested")
        return {**fresh_attributes(None), **dict.fromkeys(forgotten)}


def _host(machine: Machine, arguments: Mapping[str, Any]) -> Server:
    name = arguments.get("host")
    return Server(name) if isinstance(name, str) else source_of(machine).source


def _places(value: Mapping[str, Any]) -> dict[int, str]:
    return {int(disk["index"]): str(disk["place"]) for disk in value["disks"]}


def _vault(workshop: Workshop) -> VaultClient:
    if workshop.targets.azure is None:
        raise JobError("no-vault", "this configuration server is not registered with a vault")
    return workshop.targets.azure.vault
