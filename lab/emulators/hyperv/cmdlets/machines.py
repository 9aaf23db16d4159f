"""Get-VM, New-VM, Set-VM, Remove-VM and the host itself."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from lab.emulators.hyperv import errors
from lab.emulators.hyperv.cmdlets.adapters import add_adapter
from lab.emulators.hyperv.cmdlets.call import Asks, Call, Emulated
from lab.emulators.hyperv.cmdlets.drives import plug
from lab.emulators.hyperv.cmdlets.vhd import new_disk
from lab.emulators.hyperv.contract.tables import Module
from lab.emulators.hyperv.host import MEBIBYTE, STATES, Host
from lab.emulators.hyperv.machine import Drive, VirtualMachine
from lab.emulators.hyperv.powershell.values import Record
from lab.hypervisors.model import PowerState

DEFAULT_MEMORY, LEAST_MEMORY, MOST_MEMORY = 1 << 30, 32 * MEBIBYTE, 1 << 44
DEFAULT_PATH = "C:\\ProgramData\\Microsoft\\Windows\\Hyper-V"
MOST_PROCESSORS = 64
NOT_REPLICATED = {"ReplicationState": "Disabled", "ReplicationMode": "None", "ReplicationHealth": "NotApplicable"}


def machine_record(module: Module, host: Host, machine: VirtualMachine) -> Record:
    """Return the object VirtualMachine."""
    power = host.power(machine)
    on = power is not PowerState.OFF
    uptime = host.clock() - machine.started if machine.started is not None else dt.timedelta()
    parent = next((item.name for item in machine.checkpoints if item.id == machine.parent), None)
    properties: dict[str, Any] = {
        "Id": machine.id,
        "Name": machine.name,
        "State": STATES[power],
        "Status": "Operating normally",
        "Generation": machine.generation,
        "Version": "9.0",
        "Uptime": uptime,
        "ProcessorCount": machine.processors,
        "MemoryStartup": machine.memory,
        "MemoryAssigned": machine.memory if on else 0,
        "DynamicMemoryEnabled": False,
        "Heartbeat": "NoContact" if on else None,
        "Notes": host.notes(machine),
        "Path": machine.path,
        "ConfigurationLocation": machine.path,
        "CreationTime": machine.created,
        "CheckpointType": machine.checkpoint_type,
        "AutomaticCheckpointsEnabled": machine.automatic_checkpoints,
        "AutomaticStartAction": machine.automatic_start,
        "AutomaticStopAction": machine.automatic_stop,
        "ParentSnapshotId": machine.parent,
        "ParentSnapshotName": parent,
        "IsClustered": False,
        "ComputerName": host.name,
        "IsDeleted": False,
    }
    return module.record("VirtualMachine", properties | _replication(host, machine), machine.id)


def _replication(host: Host, machine: VirtualMachine) -> dict[str, str]:
    found = host.relations.get(machine.id)
    if found is None:
        return NOT_REPLICATED
    health = host.told.health.get(machine.name, "Normal")
    return {"ReplicationState": found.state, "ReplicationMode": found.mode, "ReplicationHealth": health}


def _get(call: Call) -> list[Any]:
    if call.given("Id"):
        found = [call.host.by_id(call.bound.get("Id"))]
    elif call.given("Name"):
        found = call.machines("Name")
    else:
        found = list(call.host.machines)
    return [machine_record(call.module, call.host, item) for item in found]


def _new(call: Call) -> list[Any]:
    host, name = call.host, call.text("Name", "New Virtual Machine")
    memory = _memory(call.bound.get("MemoryStartupBytes", DEFAULT_MEMORY))
    machine = VirtualMachine(
        id=uuid.uuid4(),
        name=name,
        machine=host.new_name(name),
        generation=int(call.bound.get("Generation", 1)),
        memory=memory,
        created=host.clock(),
        path=call.text("Path", DEFAULT_PATH),
    )
    disk = call.bound.get("VHDPath")
    if call.given("NewVHDPath"):
        disk = new_disk(host, call.text("NewVHDPath"), call.bound.get("NewVHDSizeBytes"), "Dynamic").path
    if disk is not None:
        place = machine.free_place("HardDiskDrive")
        plug(host, machine, Drive("HardDiskDrive", *(place or ("IDE", 0, 0)), str(disk)))
    if machine.generation == 1:
        machine.drives.append(Drive("DvdDrive", "IDE", 1, 0, None))
    add_adapter(host, machine, "Network Adapter", call.bound.get("SwitchName"), None)
    host.machines.append(machine)
    return [machine_record(call.module, host, machine)]


def _set(call: Call) -> list[Any]:
    found = call.machines("Name")
    for machine in found:
        if call.given("ProcessorCount") or call.given("MemoryStartupBytes"):
            _size(call, machine)
        if call.given("Notes"):
            machine.notes = call.text("Notes")
        if call.given("NewVMName"):
            machine.name = call.text("NewVMName")
        machine.checkpoint_type = call.text("CheckpointType", machine.checkpoint_type)
        machine.automatic_stop = call.text("AutomaticStopAction", machine.automatic_stop)
        machine.automatic_start = call.text("AutomaticStartAction", machine.automatic_start)
        automatic = call.bound.get("AutomaticCheckpointsEnabled", machine.automatic_checkpoints)
        machine.automatic_checkpoints = bool(automatic)
    return call.passed([machine_record(call.module, call.host, item) for item in found])


def _size(call: Call, machine: VirtualMachine) -> None:
    processors = int(call.bound.get("ProcessorCount", machine.processors))
    memory = _memory(call.bound.get("MemoryStartupBytes", machine.memory))
    if not 1 <= processors <= MOST_PROCESSORS:
        raise errors.CmdletError("InvalidParameter", f"Failed to set the number of processors to {processors}.")
    call.host.changed(machine)
    machine.processors, machine.memory = processors, memory


def _memory(size: int) -> int:
    if not LEAST_MEMORY <= size <= MOST_MEMORY or size % (2 * MEBIBYTE):
        message = f"Invalid startup memory amount: {size} bytes; it is a multiple of 2 MB, at least 32 MB."
        raise errors.CmdletError("InvalidParameter", message)
    return size


def _remove(call: Call) -> list[Any]:
    found = call.machines("Name")
    for machine in found:
        call.host.remove(machine)
    return []


def _host(call: Call) -> list[Any]:
    properties = {
        "Name": call.host.name,
        "ComputerName": call.host.name,
        "FullyQualifiedDomainName": call.host.name,
        "VirtualMachinePath": DEFAULT_PATH,
        "VirtualHardDiskPath": "C:\\Users\\Public\\Documents\\Hyper-V\\Virtual Hard Disks",
        "SupportedVmVersions": ["9.0"],
    }
    return [call.module.record("VMHost", properties)]


CMDLETS = {
    "Get-VM": Emulated(_get, "Name Id"),
    "New-VM": Emulated(
        _new, "Name Generation MemoryStartupBytes NoVHD NewVHDPath NewVHDSizeBytes VHDPath Path SwitchName"
    ),
    "Set-VM": Emulated(
        _set,
        "VM Name NewVMName ProcessorCount MemoryStartupBytes StaticMemory Notes CheckpointType AutomaticStopAction "
        "AutomaticStartAction AutomaticCheckpointsEnabled",
    ),
    "Remove-VM": Emulated(_remove, "VM Name", Asks.WITHOUT_FORCE),
    "Get-VMHost": Emulated(_host),
}
