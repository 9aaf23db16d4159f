"""Integration services, which nobody in the guests answers, and serial ports."""

from __future__ import annotations

from typing import Any

from lab.emulators.hyperv import errors
from lab.emulators.hyperv.cmdlets.call import Call, Emulated
from lab.emulators.hyperv.machine import VirtualMachine
from lab.emulators.hyperv.powershell.values import Record
from lab.hypervisors.model import PowerState

SERVICES = {
    "Guest Service Interface": False,
    "Heartbeat": True,
    "Key-Value Pair Exchange": True,
    "Shutdown": True,
    "Time Synchronization": True,
    "VSS": True,
}
"""Names and which are on by default [mem]."""


def _services(call: Call) -> list[Any]:
    return [
        _service(call, machine, name) for machine in call.machines("VMName") for name in SERVICES if call.fits(name)
    ]


def _service(call: Call, machine: VirtualMachine, name: str) -> Record:
    running = call.host.power(machine) is not PowerState.OFF
    talks = name == "Key-Value Pair Exchange" and bool(call.host.told.addresses.get(machine.name))
    properties = {
        "Name": name,
        "Enabled": SERVICES[name],
        "PrimaryStatusDescription": ("OK" if talks else "No Contact") if running and SERVICES[name] else "",
        "VMId": machine.id,
        "VMName": machine.name,
        "IsDeleted": False,
    }
    return call.module.record("VMIntegrationComponent", properties)


def _port(call: Call, machine: VirtualMachine, number: int) -> Record:
    properties = {
        "Name": f"COM {number}",
        "Path": machine.ports[number],
        "VMId": machine.id,
        "VMName": machine.name,
        "IsDeleted": False,
    }
    return call.module.record("VMComPort", properties)


def _get_port(call: Call) -> list[Any]:
    numbers = [call.bound.get("Number")] if call.given("Number") else [1, 2]
    machines = call.machines("VMName")
    return [_port(call, machine, number) for machine in machines for number in numbers if number in machine.ports]


def _set_port(call: Call) -> list[Any]:
    number, path = call.bound.get("Number"), call.text("Path")
    if number not in (1, 2) or (path and not path.startswith("\\\\.\\pipe\\")):
        raise errors.CmdletError("InvalidParameter", f"COM {number}: a named pipe is expected, not '{path}'.")
    found = call.machines("VMName")
    for machine in found:
        call.host.changed(machine)
        machine.ports[number] = path
    return call.passed([_port(call, machine, number) for machine in found])


CMDLETS = {
    "Get-VMIntegrationService": Emulated(_services, "VM VMName Name"),
    "Get-VMComPort": Emulated(_get_port, "VM VMName Number"),
    "Set-VMComPort": Emulated(_set_port, "VM VMName Number Path"),
}
