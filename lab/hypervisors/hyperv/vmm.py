"""Clouds of a VMM server: inventory, placement, power, checkpoints. Every change is a job, which is polled.

Failover is no matter of VMM's cmdlets: it belongs to the Hyper-V module of the hosts (facts/hyperv-and-bmc.md 3.7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.hypervisors.hyperv.script import Cmdlet, Enum, Given, Pipeline, Switch, Variable, Where
from lab.hypervisors.hyperv.session import Session
from lab.hypervisors.model import PowerState, SnapshotId
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound
from lab.waiting import Deadline, wait_until

JOB_SECONDS = 600.0
POLL_SECONDS = 0.25
_JOB = "job"
_POWER = {"PowerOff": PowerState.OFF, "Stored": PowerState.OFF, "Paused": PowerState.PAUSED, "Saved": PowerState.PAUSED}
_BROKEN = frozenset({"Missing", "HostNotResponding", "CreationFailed", "UpdateFailed", "IncompleteVMConfig"})


@dataclass(frozen=True)
class Cloud:
    """A cloud of VMM."""

    key: str
    name: str


@dataclass(frozen=True)
class VmmHost:
    """A host that VMM manages; memory in bytes."""

    name: str
    state: str
    cpus: int
    memory_bytes: int


@dataclass(frozen=True)
class VmmMachine:
    """A machine as VMM last saw it. ``key`` is VMM's id, ``machine_key`` Hyper-V's; names are not unique."""

    key: str
    machine_key: str
    name: str
    status: str

    @property
    def power(self) -> PowerState:
        """Its power. Raises HypervisorError for a machine of which VMM knows nothing now."""
        if self.status in _BROKEN:
            raise HypervisorError(f"machine {self.name}: VMM says {self.status}")
        return _POWER.get(self.status, PowerState.ON)


@dataclass(frozen=True)
class Vmm:
    """A VMM server, reached through the remote shell of ``session``; ``server`` is its name there."""

    session: Session
    server: str = "localhost"

    def clouds(self) -> Sequence[Cloud]:
        """Return the clouds, by name."""
        rows = self._read("clouds", Pipeline(Cmdlet("Get-SCCloud", {}), select=("ID", "Name")))
        return sorted((Cloud(str(row["ID"]), str(row["Name"])) for row in rows), key=lambda cloud: cloud.name)

    def hosts(self) -> Sequence[VmmHost]:
        """Return the hosts, by name."""
        about = ("Name", Enum("OverallState"), "LogicalCPUCount", "TotalMemory")
        rows = self._read("hosts", Pipeline(Cmdlet("Get-SCVMHost", {}), select=about))
        found = [
            VmmHost(str(row["Name"]), str(row["OverallState"]), int(row["LogicalCPUCount"]), int(row["TotalMemory"]))
            for row in rows
        ]
        return sorted(found, key=lambda host: host.name)

    def machines(self, cloud: Cloud) -> Sequence[VmmMachine]:
        """Return the machines of a cloud, by name."""
        inside: Given = {"Cloud": Pipeline(Cmdlet("Get-SCCloud", {"ID": cloud.key}))}
        return self._machines(f"machines of {cloud.name}", inside)

    def machine(self, key: str) -> VmmMachine:
        """Return a machine by VMM's id, as VMM last saw it. Raises NotFound."""
        found = self._machines(f"machine {key}", {"ID": key})
        if not found:
            raise NotFound(f"machine {key}: VMM has none with this id")
        return found[0]

    def create(self, name: str, template: str, cloud: Cloud, deadline: Deadline | None = None) -> VmmMachine:
        """Place a new machine, made of a template, in a cloud; VMM chooses the host. Raises Conflict, NotFound."""
        if any(machine.name == name for machine in self.machines(cloud)):
            raise Conflict(f"machine {name}: cloud {cloud.name} has one of that name, and names do not tell them apart")
        templates = Pipeline(Cmdlet("Get-SCVMTemplate", {"Name": template}))
        if not self._read(f"template {template}", Pipeline(*templates.cmdlets, select=("Name",))):
            raise NotFound(f"template {template}: does not exist")
        place = Pipeline(Cmdlet("Get-SCCloud", {"ID": cloud.key}))
        self._job(
            f"machine {name}",
            [],
            Cmdlet("New-SCVirtualMachine", {"Name": name, "VMTemplate": templates, "Cloud": place}),
            deadline,
        )
        return next(machine for machine in self.machines(cloud) if machine.name == name)

    def refresh(self, key: str, deadline: Deadline | None = None) -> VmmMachine:
        """Let VMM look at a machine and return what it sees. Raises NotFound."""
        return self._change(key, "Read-SCVirtualMachine", {}, deadline)

    def power_on(self, key: str, deadline: Deadline | None = None) -> VmmMachine:
        """Switch on. Raises NotFound."""
        return self._change(key, "Start-SCVirtualMachine", {}, deadline)

    def power_off(self, key: str, deadline: Deadline | None = None) -> VmmMachine:
        """Cut the power. Raises NotFound."""
        return self._change(key, "Stop-SCVirtualMachine", {"Force": Switch.ON}, deadline)

    def shut_down(self, key: str, deadline: Deadline) -> VmmMachine:
        """Ask the guest and wait. Raises NotFound, DeadlineExceeded."""
        return self._change(key, "Stop-SCVirtualMachine", {"Shutdown": Switch.ON}, deadline)

    def remove(self, key: str, deadline: Deadline | None = None) -> None:
        """Remove a machine with its disks, as VMM does. Raises NotFound."""
        what, found = self._found(key)
        self._job(what, found, Cmdlet("Remove-SCVirtualMachine", {"Confirm": Switch.OFF}), deadline)

    def checkpoints(self, key: str) -> Sequence[SnapshotId]:
        """Return the checkpoints of a machine. Raises NotFound."""
        what, found = self._found(key)
        rows = self._read(what, Pipeline(*found, Cmdlet("Get-SCVMCheckpoint", {}), select=("CheckpointID", "Name")))
        return [SnapshotId(str(row["CheckpointID"]), str(row["Name"])) for row in rows]

    def create_checkpoint(self, key: str, name: str, deadline: Deadline | None = None) -> SnapshotId:
        """Make a checkpoint. Raises NotFound."""
        what, found = self._found(key)
        before = {item.key for item in self.checkpoints(key)}
        self._job(what, found, Cmdlet("New-SCVMCheckpoint", {"Name": name}), deadline)
        return next(item for item in self.checkpoints(key) if item.key not in before)

    def restore_checkpoint(self, key: str, checkpoint: SnapshotId, deadline: Deadline | None = None) -> None:
        """Bring a machine back to a checkpoint. Raises NotFound."""
        self._with_checkpoint(key, checkpoint, "Restore-SCVMCheckpoint", {}, deadline)

    def remove_checkpoint(self, key: str, checkpoint: SnapshotId, deadline: Deadline | None = None) -> None:
        """Remove a checkpoint. Raises NotFound."""
        self._with_checkpoint(key, checkpoint, "Remove-SCVMCheckpoint", {"Confirm": Switch.OFF}, deadline)

    def _with_checkpoint(
        self, key: str, checkpoint: SnapshotId, cmdlet: str, given: Given, deadline: Deadline | None
    ) -> None:
        what, found = self._found(key)
        if checkpoint.key not in {item.key for item in self.checkpoints(key)}:
            raise NotFound(f"checkpoint {checkpoint.name} of {what}: does not exist")
        # The id of a checkpoint is no parameter of Get-SCVMCheckpoint.
        chosen = [*found, Cmdlet("Get-SCVMCheckpoint", {}), Where("CheckpointID", checkpoint.key)]
        self._job(f"checkpoint {checkpoint.name}", chosen, Cmdlet(cmdlet, given), deadline)

    def _machines(self, what: str, given: Given) -> list[VmmMachine]:
        about = ("ID", "VMId", "Name", Enum("Status"))
        rows = self._read(what, Pipeline(Cmdlet("Get-SCVirtualMachine", given), select=about))
        found = [VmmMachine(str(row["ID"]), str(row["VMId"]), str(row["Name"]), str(row["Status"])) for row in rows]
        return sorted(found, key=lambda machine: machine.name)

    def _found(self, key: str) -> tuple[str, list[Cmdlet | Where]]:
        machine = self.machine(key)
        return f"machine {machine.name}", [Cmdlet("Get-SCVirtualMachine", {"ID": machine.key})]

    def _change(self, key: str, cmdlet: str, given: Given, deadline: Deadline | None) -> VmmMachine:
        what, found = self._found(key)
        self._job(what, found, Cmdlet(cmdlet, given), deadline)
        return self.machine(key)

    def _read(self, what: str, query: Pipeline) -> list[dict[str, Any]]:
        return self.session.read(f"VMM {what}", {"server": [self._connection], "found": [query]})["found"]

    @property
    def _connection(self) -> Pipeline:
        """Every script is a process of its own, and has to say which VMM server it means."""
        return Pipeline(Cmdlet("Get-SCVMMServer", {"ComputerName": self.server}), select=("Name",))

    def _job(self, what: str, found: Sequence[Cmdlet | Where], change: Cmdlet, deadline: Deadline | None) -> None:
        """Begin a job and poll it. Raises HypervisorError with VMM's words when it failed, DeadlineExceeded."""
        later = {**change.parameters, "RunAsynchronously": Switch.ON, "JobVariable": _JOB}
        queries = {
            "server": [self._connection],
            "begun": [Pipeline(*found, Cmdlet(change.name, later), select=("Name",))],
            _JOB: [Pipeline(Variable(_JOB), select=("ID",))],
        }
        rows = self.session.run(f"VMM {what}", queries)[_JOB]
        if not rows:
            raise NotFound(f"VMM {what}: nothing to change was found")
        key = str(rows[0]["ID"])
        about = ("Name", Enum("Status"), "IsCompleted", "ResultName")
        query = Pipeline(Cmdlet("Get-SCJob", {"ID": key}), select=about)

        def ended() -> Mapping[str, Any] | None:
            row = self._read(f"job {key}", query)[0]
            return row if row["IsCompleted"] else None

        job = wait_until(
            ended, deadline or Deadline.after(JOB_SECONDS), f"VMM {what}: {change.name}", every=POLL_SECONDS
        )
        if job["Status"] != "Completed":
            raise HypervisorError(f"VMM {what}: {change.name} ended as {job['Status']}: {job['ResultName']}")
