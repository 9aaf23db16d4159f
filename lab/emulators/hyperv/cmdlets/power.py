"""Start-, Stop-, Restart-, Suspend- and Resume-VM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lab.emulators.hyperv import errors
from lab.emulators.hyperv.cmdlets.call import Asks, Call, Emulated
from lab.emulators.hyperv.cmdlets.failover import may_start
from lab.emulators.hyperv.cmdlets.machines import machine_record
from lab.emulators.hyperv.host import Host, refused
from lab.emulators.hyperv.machine import VirtualMachine
from lab.hypervisors.model import PowerState
from lab.waiting import Deadline, DeadlineExceeded

SHUTDOWN_SECONDS, PRESS_SECONDS = 300.0, 10.0


def start(host: Host, machine: VirtualMachine) -> None:
    """Switch a machine on, or let it go on when it is paused. Raises CmdletError."""
    if not may_start(host, machine.id):
        raise errors.wrong_state(machine.name)
    power = host.power(machine)
    if power is PowerState.ON:
        return  # a warning on a real host
    with refused():
        if power is PowerState.PAUSED:
            host.backend.resume(machine.machine)
            return
        host.realise(machine)
        host.backend.host.power_on(machine.machine)
    machine.started = host.clock()


def turn_off(host: Host, machine: VirtualMachine) -> None:
    """Cut the power. Raises CmdletError."""
    if host.power(machine) is not PowerState.OFF:
        with refused():
            host.backend.host.power_off(machine.machine)
        machine.started = None


def _start(call: Call) -> list[Any]:
    found = call.machines("Name")
    for machine in found:
        start(call.host, machine)
    return _passed(call, found)


def _stop(call: Call) -> list[Any]:
    with call.host.lock:
        found = call.machines("Name")
    for machine in found:
        if call.bound.flag("TurnOff"):
            with call.host.lock:
                turn_off(call.host, machine)
        elif call.host.power(machine) is PowerState.PAUSED:
            raise errors.wrong_state(machine.name)
        else:
            _shut_down(call, machine)
    with call.host.lock:
        return _passed(call, found)


def _shut_down(call: Call, machine: VirtualMachine) -> None:
    """Press the power button and wait, as the integration service waits for the guest."""
    deadline = Deadline.after(SHUTDOWN_SECONDS)
    while call.host.power(machine) is not PowerState.OFF and not call.cancelled.is_set():
        if deadline.expired:
            raise errors.failed(f"'{machine.name}' did not shut down.")
        try:
            with refused():
                call.host.backend.host.shut_down(machine.machine, Deadline.after(PRESS_SECONDS))
        except DeadlineExceeded:
            continue


def _restart(call: Call) -> list[Any]:
    found = _switched(call, PowerState.ON, call.host.backend.reset)
    for machine in found:
        machine.started = call.host.clock()
    return _passed(call, found)


def _suspend(call: Call) -> list[Any]:
    return _passed(call, _switched(call, PowerState.ON, call.host.backend.pause))


def _resume(call: Call) -> list[Any]:
    return _passed(call, _switched(call, PowerState.PAUSED, call.host.backend.resume))


def _switched(call: Call, before: PowerState, change: Callable[[str], None]) -> list[VirtualMachine]:
    """Change machines that have to be in a state. Raises CmdletError."""
    found = call.machines("Name")
    for machine in found:
        if call.host.power(machine) is not before:
            raise errors.wrong_state(machine.name)
        with refused():
            change(machine.machine)
    return found


def _passed(call: Call, found: list[VirtualMachine]) -> list[Any]:
    return [machine_record(call.module, call.host, item) for item in found] if call.bound.flag("Passthru") else []


CMDLETS = {
    "Start-VM": Emulated(_start, "VM Name"),
    "Stop-VM": Emulated(_stop, "VM Name TurnOff", Asks.WITHOUT_FORCE, waits=True),
    "Restart-VM": Emulated(_restart, "VM Name", Asks.WITHOUT_FORCE),
    "Suspend-VM": Emulated(_suspend, "VM Name"),
    "Resume-VM": Emulated(_resume, "VM Name"),
}
