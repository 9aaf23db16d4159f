"""The VirtualMachineManager module: inventory, machines, checkpoints and jobs of a VMM server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Any

from lab.emulators.hyperv import errors
from lab.emulators.hyperv.cmdlets import checkpoints, power
from lab.emulators.hyperv.cmdlets.call import Asks, Call, Emulated
from lab.emulators.hyperv.host import MEBIBYTE, refused
from lab.emulators.hyperv.machine import Checkpoint, VirtualMachine
from lab.emulators.hyperv.powershell.values import PowerShellError, Record
from lab.emulators.hyperv.vmm import CLOUD, TEMPLATE, Job, Manager
from lab.hypervisors.model import PowerState
from lab.waiting import Deadline, DeadlineExceeded

TEMPLATE_CPUS, TEMPLATE_MIB = 1, 64
PORT = 8100


def _manager(call: Call) -> Manager:
    if call.manager is None:
        message = "You cannot contact the VMM management server: there is none on this host."
        raise errors.CmdletError("1602", message, "ReadError: (:)")
    return call.manager


def _server(call: Call) -> list[Any]:
    _manager(call)
    return [call.module.record("ServerConnection", {"Name": call.host.name, "Port": PORT, "IsConnected": True})]


def _cloud(call: Call) -> Record:
    return call.module.record("Cloud", {"ID": _manager(call).cloud, "Name": CLOUD, "Description": ""}, CLOUD)


def _host(call: Call) -> Record:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    properties = {
        "ID": uuid.uuid5(_manager(call).cloud, "host"),
        "Name": call.host.name,
        "FQDN": call.host.name,
        "OverallState": "OK",
        "LogicalCPUCount": os.cpu_count() or 1,
        "TotalMemory": memory,
        "HostCluster": None,
    }
    return call.module.record("Host", properties, "host")


def _template(call: Call) -> Record:
    properties = {"ID": _manager(call).template, "Name": TEMPLATE, "CPUCount": TEMPLATE_CPUS, "Memory": TEMPLATE_MIB}
    return call.module.record("Template", properties, TEMPLATE)


def _only(make: Callable[[Call], Record]) -> Callable[[Call], list[Any]]:
    """Return a Get- cmdlet of which there is one object."""

    def get(call: Call) -> list[Any]:
        found = make(call)
        fits = call.fits(str(found.get("Name"))) and call.fits(call.host.name, "ComputerName")
        return [found] if fits and call.bound.get("ID", found.get("ID")) == found.get("ID") else []

    return get


def _machine(call: Call, machine: VirtualMachine) -> Record:
    manager = _manager(call)
    status = manager.status(machine)
    properties = {
        "ID": manager.identity(machine),
        "VMId": machine.id,
        "Name": machine.name,
        "Status": status,
        "VirtualMachineState": status,
        "Cloud": _cloud(call) if machine.id in manager.in_cloud else None,
        "VMHost": _host(call),
        "CPUCount": machine.processors,
        "Memory": machine.memory // MEBIBYTE,
        "DynamicMemoryEnabled": False,
        "Generation": machine.generation,
        "CreationTime": machine.created,
    }
    return call.module.record("VM", properties, machine.id)


def _machines(call: Call) -> list[Any]:
    manager = _manager(call)
    return [
        _machine(call, machine)
        for machine in call.host.machines
        if call.fits(machine.name)
        and (not call.given("Cloud") or machine.id in manager.in_cloud)
        and (not call.given("ID") or manager.identity(machine) == call.bound.get("ID"))
    ]


def _meant(call: Call) -> VirtualMachine:
    return call.host.by_id(call.bound.get("VM").key)


def _job(call: Call, name: str, work: Callable[[], None]) -> Job:
    """Run a job as the caller wants it. Raises PowerShellError when it was waited for and failed."""
    wait = not call.bound.flag("RunAsynchronously")
    job = _manager(call).begin(name, work, wait=wait, ended=call.cancelled)
    if call.given("JobVariable"):
        call.assign(call.text("JobVariable"), _job_record(call, job))
    if wait and job.status == "Failed":
        raise PowerShellError(job.result, "VMMJobFailed,Microsoft.SystemCenter.VirtualMachineManager")
    return job


def _changed(name: str, change: Callable[[Call, VirtualMachine], None]) -> Callable[[Call], list[Any]]:
    """Return a cmdlet that changes one machine by a job and returns it."""

    def run(call: Call) -> list[Any]:
        machine, manager = _meant(call), _manager(call)

        def work() -> None:
            try:
                change(call, machine)
            finally:
                with call.host.lock:
                    if machine in call.host.machines:
                        manager.refresh(machine)

        _job(call, name, work)
        with call.host.lock:
            return [_machine(call, machine)]

    return run


def _locked(change: Callable[[Call, VirtualMachine], object]) -> Callable[[Call, VirtualMachine], None]:
    def run(call: Call, machine: VirtualMachine) -> None:
        with call.host.lock:
            change(call, machine)

    return run


def _stop(call: Call, machine: VirtualMachine) -> None:
    if not call.bound.flag("Shutdown"):
        with call.host.lock:
            power.turn_off(call.host, machine)
        return
    try:
        with refused():
            call.host.backend.host.shut_down(machine.machine, Deadline.after(power.SHUTDOWN_SECONDS))
    except DeadlineExceeded as error:
        raise errors.failed(str(error)) from error


def _pause(call: Call, machine: VirtualMachine) -> None:
    if call.host.power(machine) is not PowerState.ON:
        raise errors.wrong_state(machine.name)
    with refused():
        call.host.backend.pause(machine.machine)


def _remove(call: Call) -> list[Any]:
    machine = _meant(call)

    def work() -> None:
        with call.host.lock:
            call.host.remove(machine)

    _job(call, "Remove virtual machine", work)
    return []


def _new(call: Call) -> list[Any]:
    manager, name = _manager(call), call.text("Name")
    machine = VirtualMachine(
        id=uuid.uuid4(),
        name=name,
        machine=call.host.new_name(name),
        generation=1,
        memory=TEMPLATE_MIB * MEBIBYTE,
        created=call.host.clock(),
        path="C:\\ProgramData\\Microsoft\\Windows\\Hyper-V",
        processors=TEMPLATE_CPUS,
    )

    def work() -> None:
        with call.host.lock:
            call.host.machines.append(machine)
            if call.given("Cloud"):
                manager.in_cloud.add(machine.id)
            manager.refresh(machine)

    _job(call, "Create virtual machine", work)
    with call.host.lock:
        return [_machine(call, machine)] if machine in call.host.machines else []


def _checkpoint(call: Call, machine: VirtualMachine, found: Checkpoint) -> Record:
    properties = {
        "CheckpointID": found.id,
        "ID": found.id,
        "Name": found.name,
        "AddedTime": found.created,
        "VM": _machine(call, machine),
    }
    return call.module.record("VMCheckpoint", properties, (machine.id, found.id))


def _checkpoints(call: Call) -> list[Any]:
    machines = [_meant(call)] if call.given("VM") else call.host.machines
    return [_checkpoint(call, machine, item) for machine in machines for item in machine.checkpoints]


def _new_checkpoint(call: Call) -> list[Any]:
    machine = _meant(call)
    name = call.text("Name", f"{machine.name} - {call.host.clock():%Y-%m-%d %H:%M:%S}")
    _job(call, "Create checkpoint", lambda: _locked(lambda c, vm: checkpoints.take(c.host, vm, name))(call, machine))
    with call.host.lock:
        return [_checkpoint(call, machine, item) for item in machine.checkpoints if item.name == name]


def _of_checkpoint(
    name: str, change: Callable[[Call, VirtualMachine, Checkpoint], None]
) -> Callable[[Call], list[Any]]:
    """Return a cmdlet that does something with one checkpoint by a job."""

    def run(call: Call) -> list[Any]:
        machine_id, identity = call.bound.get("VMCheckpoint").key
        machine = call.host.by_id(machine_id)

        def work() -> None:
            with call.host.lock:
                found = next((item for item in machine.checkpoints if item.id == identity), None)
                if found is None:
                    raise errors.missing("The checkpoint")
                change(call, machine, found)
                _manager(call).refresh(machine)

        _job(call, name, work)
        return []

    return run


def _job_record(call: Call, job: Job) -> Record:
    properties = {
        "ID": job.id,
        "Name": job.name,
        "Status": job.status,
        "Progress": 100 if job.done else 50,
        "ResultName": job.result or ("Success" if job.done else ""),
        "IsCompleted": job.done,
        "Owner": job.owner,
    }
    return call.module.record("Task", properties, job.id)


def _jobs(call: Call) -> list[Any]:
    found = [job for job in reversed(_manager(call).jobs) if call.bound.get("ID", job.id) == job.id]
    return [_job_record(call, job) for job in found[: call.bound.get("Newest", len(found))]]


_LATER = "RunAsynchronously JobVariable"
CMDLETS = {
    "Get-SCVMMServer": Emulated(_server, "ComputerName TCPPort"),
    "Get-SCCloud": Emulated(_only(_cloud), "Name ID"),
    "Get-SCVMHost": Emulated(_only(_host), "ComputerName"),
    "Get-SCVMTemplate": Emulated(_only(_template), "Name ID"),
    "Get-SCVirtualMachine": Emulated(_machines, "Name All Cloud VMHost ID"),
    "New-SCVirtualMachine": Emulated(_new, f"Name VMTemplate Cloud VMHost {_LATER}", waits=True),
    "Start-SCVirtualMachine": Emulated(
        _changed("Start virtual machine", _locked(lambda call, vm: power.start(call.host, vm))),
        f"VM {_LATER}",
        waits=True,
    ),
    "Stop-SCVirtualMachine": Emulated(
        _changed("Stop virtual machine", _stop), f"VM Shutdown Force {_LATER}", waits=True
    ),
    "Suspend-SCVirtualMachine": Emulated(_changed("Pause", _locked(_pause)), f"VM {_LATER}", waits=True),
    "Resume-SCVirtualMachine": Emulated(
        _changed("Resume", _locked(lambda call, vm: power.start(call.host, vm))), f"VM {_LATER}", waits=True
    ),
    "Read-SCVirtualMachine": Emulated(_changed("Refresh", lambda _call, _vm: None), f"VM {_LATER}", waits=True),
    "Remove-SCVirtualMachine": Emulated(_remove, f"VM {_LATER}", Asks.WITHOUT_CONFIRM, waits=True),
    "New-SCVMCheckpoint": Emulated(_new_checkpoint, f"VM Name {_LATER}", waits=True),
    "Get-SCVMCheckpoint": Emulated(_checkpoints, "VM"),
    "Restore-SCVMCheckpoint": Emulated(
        _of_checkpoint("Restore checkpoint", lambda call, vm, found: checkpoints.restore(call.host, vm, found)),
        f"VMCheckpoint {_LATER}",
        waits=True,
    ),
    "Remove-SCVMCheckpoint": Emulated(
        _of_checkpoint("Remove checkpoint", lambda call, vm, found: checkpoints.remove(call.host, vm, found)),
        f"VMCheckpoint {_LATER}",
        Asks.WITHOUT_CONFIRM,
        waits=True,
    ),
    "Get-SCJob": Emulated(_jobs, "ID Newest All"),
}
