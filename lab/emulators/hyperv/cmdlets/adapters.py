"""Network adapters and virtual switches."""

from __future__ import annotations

import re
import uuid
from typing import Any

from lab.emulators.hyperv import errors
from lab.emulators.hyperv.cmdlets.call import Asks, Call, Emulated
from lab.emulators.hyperv.contract.tables import Module
from lab.emulators.hyperv.host import Host, Switch
from lab.emulators.hyperv.machine import Adapter, VirtualMachine
from lab.emulators.hyperv.powershell.values import Record, Unsupported
from lab.hypervisors.model import PowerState

_MAC = re.compile(r"[0-9A-Fa-f]{12}")
_DYNAMIC = "00155D"


def adapter_record(module: Module, host: Host, machine: VirtualMachine, adapter: Adapter) -> Record:
    """Return the object VMNetworkAdapter; addresses are those that a test told: no guest has integration services."""
    switch = host.switches.get(adapter.switch or "")
    running = host.power(machine) is PowerState.ON
    properties: dict[str, Any] = {
        "Id": f"Microsoft:{machine.id}\\{adapter.id}",
        "Name": adapter.name,
        "MacAddress": adapter.mac.upper(),
        "DynamicMacAddressEnabled": adapter.dynamic,
        "SwitchName": adapter.switch or "",
        "SwitchId": switch.id if switch is not None else None,
        "Connected": switch is not None,
        "IPAddresses": list(host.told.addresses.get(machine.name, ())) if running else [],
        "IsLegacy": False,
        "VMId": machine.id,
        "VMName": machine.name,
        "IsDeleted": False,
    }
    return module.record("VMNetworkAdapter", properties, adapter)


def add_adapter(host: Host, machine: VirtualMachine, name: str, switch: str | None, mac: str | None) -> Adapter:
    """Put a card into a machine that is off. Raises CmdletError."""
    if switch is not None:
        _require(host, switch)
    if mac is not None and not _MAC.fullmatch(mac):
        raise errors.CmdletError("InvalidParameter", f"'{mac}' is no MAC address of twelve hexadecimal digits.")
    made = str(uuid.uuid4()).upper()
    adapter = Adapter(made, name, mac or _DYNAMIC + made[-6:], mac is None, switch)
    machine.adapters.append(adapter)
    return adapter


def _require(host: Host, switch: str) -> Switch:
    found = host.switches.get(switch)
    if found is None:
        raise errors.missing(f"The virtual switch '{switch}'")
    return found


def _chosen(call: Call, objects: str = "VMNetworkAdapter") -> list[tuple[VirtualMachine, Adapter]]:
    """Return the cards that are meant, by object, or by machine and name."""
    value = call.bound.get(objects)
    if value is not None:
        keys = [item.key for item in (value if isinstance(value, list) else [value])]
        return [(machine, card) for machine in call.host.machines for card in machine.adapters if card in keys]
    return [(item, card) for item in call.machines("VMName") for card in item.adapters if call.fits(card.name)]


def _records(call: Call, found: list[tuple[VirtualMachine, Adapter]]) -> list[Record]:
    return [adapter_record(call.module, call.host, machine, adapter) for machine, adapter in found]


def _get(call: Call) -> list[Any]:
    return _records(call, _chosen(call))


def _add(call: Call) -> list[Any]:
    found = []
    for machine in call.machines("VMName"):
        call.host.changed(machine)
        name = call.text("Name", "Network Adapter")
        mac = call.bound.get("StaticMacAddress")
        found.append((machine, add_adapter(call.host, machine, name, call.bound.get("SwitchName"), mac)))
    return call.passed(_records(call, found))


def _remove(call: Call) -> list[Any]:
    found = _chosen(call)
    for machine, adapter in found:
        call.host.changed(machine)
        machine.adapters.remove(adapter)
    return call.passed(_records(call, found))


def _set(call: Call) -> list[Any]:
    found = _chosen(call)
    mac = call.text("StaticMacAddress")
    if call.given("StaticMacAddress") and not _MAC.fullmatch(mac):
        raise errors.CmdletError("InvalidParameter", f"'{mac}' is no MAC address of twelve hexadecimal digits.")
    for machine, adapter in found:
        call.host.changed(machine)
        if mac:
            adapter.mac, adapter.dynamic = mac, False
    return call.passed(_records(call, found))


def _connect(call: Call) -> list[Any]:
    name = call.text("SwitchName")
    _require(call.host, name)
    return _rewired(call, name)


def _disconnect(call: Call) -> list[Any]:
    return _rewired(call, None)


def _rewired(call: Call, switch: str | None) -> list[Any]:
    found = _chosen(call)
    for machine, adapter in found:
        if call.host.power(machine) is not PowerState.OFF:
            raise Unsupported("changing the switch of a machine that runs is not emulated")
        call.host.changed(machine)
        adapter.switch = switch
    return call.passed(_records(call, found))


def _switch_record(module: Module, host: Host, switch: Switch) -> Record:
    properties = {
        "Id": switch.id,
        "Name": switch.name,
        "SwitchType": switch.kind,
        "AllowManagementOS": switch.kind == "Internal",
        "Notes": switch.notes,
        "NetAdapterInterfaceDescription": "",
        "ComputerName": host.name,
        "IsDeleted": False,
    }
    return module.record("VMSwitch", properties, switch)


def _get_switches(call: Call) -> list[Any]:
    found = [item for item in call.host.switches.values() if call.fits(item.name)]
    if not found and call.given("Name") and not any(letter in call.text("Name") for letter in "*?["):
        raise errors.missing(f"The virtual switch '{call.text('Name')}'")
    return [_switch_record(call.module, call.host, item) for item in sorted(found, key=lambda item: item.name)]


def _new_switch(call: Call) -> list[Any]:
    name = call.text("Name")
    if name in call.host.switches:
        # A real host makes a second one of the same name, which nobody can tell from the first.
        raise errors.CmdletError("InvalidState", f"The virtual switch '{name}' exists already.")
    made = Switch(uuid.uuid4(), name, call.text("SwitchType"), call.text("Notes"))
    call.host.switches[name] = made
    return [_switch_record(call.module, call.host, made)]


def _remove_switch(call: Call) -> list[Any]:
    names = call.bound.get("Name") or [item.key.name for item in call.bound.get("VMSwitch")]
    for name in names:
        _require(call.host, name)
        if any(card.switch == name for machine in call.host.machines for card in machine.adapters):
            message = f"Failed while removing virtual Ethernet switch '{name}': it has connected network adapters."
            raise errors.CmdletError("InvalidState", message)
    for name in names:
        del call.host.switches[name]
    return []


CMDLETS = {
    "Get-VMNetworkAdapter": Emulated(_get, "VM VMName Name"),
    "Add-VMNetworkAdapter": Emulated(_add, "VM VMName Name SwitchName StaticMacAddress"),
    "Remove-VMNetworkAdapter": Emulated(_remove, "VM VMName Name VMNetworkAdapter"),
    "Set-VMNetworkAdapter": Emulated(_set, "VM VMName Name VMNetworkAdapter StaticMacAddress"),
    "Connect-VMNetworkAdapter": Emulated(_connect, "VMName Name VMNetworkAdapter SwitchName"),
    "Disconnect-VMNetworkAdapter": Emulated(_disconnect, "VMName Name VMNetworkAdapter"),
    "Get-VMSwitch": Emulated(_get_switches, "Name"),
    "New-VMSwitch": Emulated(_new_switch, "Name SwitchType Notes"),
    "Remove-VMSwitch": Emulated(_remove_switch, "Name VMSwitch", Asks.WITHOUT_FORCE),
}
