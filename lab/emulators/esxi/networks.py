"""The host's network system: standard switches and their port groups."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim

from lab.emulators.esxi import hardware
from lab.emulators.esxi.entities import Folder, Network
from lab.emulators.esxi.registry import Call, Managed, mutation
from lab.emulators.esxi.site import Site

FIRST_SWITCH = "vSwitch0"
MOST_PORTS = 128


class NetworkSystem(Managed):
    """Adds and removes port groups; each is an entity in the network folder."""

    kind = vim.host.NetworkSystem

    def __init__(self, site: Site, identity: str, folder: Folder) -> None:
        self._site, self._folder = site, folder
        self._switch_of: dict[str, str] = {}
        self._switches = [FIRST_SWITCH]
        super().__init__(site.registry, identity)

    @property
    def network_info(self) -> Any:
        """Switches and port groups."""
        groups = [
            vim.host.PortGroup(key=f"key-vim.host.PortGroup-{name}", spec=_spec(name, switch))
            for name, switch in self._switch_of.items()
        ]
        switches = [
            vim.host.VirtualSwitch(
                name=switch,
                key=f"key-vim.host.VirtualSwitch-{switch}",
                numPorts=MOST_PORTS,
                numPortsAvailable=MOST_PORTS,
                portgroup=[group.key for group in groups if group.spec.vswitchName == switch],
            )
            for switch in self._switches
        ]
        return vim.host.NetworkInfo(vswitch=switches, portgroup=groups)

    def make(self, name: str, switch: str = FIRST_SWITCH) -> None:
        """Make a port group."""
        number = self.registry.number()
        with self.registry.changing():
            network = Network(self._site, f"network-{number}", name, self._folder.ref)
            self._site.networks[name] = network
            self._switch_of[name] = switch
            self._folder.child_entity = [item.ref for item in self._site.networks.values()]

    @mutation
    def add_virtual_switch(self, call: Call) -> None:
        """Make a switch. Raises AlreadyExists."""
        name = call.given.vswitchName
        if name in self._switches:
            raise vim.fault.AlreadyExists(name=name, msg=f"The switch '{name}' exists already.")
        self._switches.append(name)

    @mutation
    def add_port_group(self, call: Call) -> None:
        """Make a port group. Raises AlreadyExists, NotFound for an unknown switch."""
        spec = call.given.portgrp
        if spec.name in self._switch_of:
            raise vim.fault.AlreadyExists(name=spec.name, msg=f"The port group '{spec.name}' exists already.")
        if spec.vswitchName not in self._switches:
            raise vim.fault.NotFound(msg=f"There is no switch '{spec.vswitchName}'.")
        self.make(spec.name, spec.vswitchName)

    @mutation
    def remove_port_group(self, call: Call) -> None:
        """Remove a port group. Raises NotFound, ResourceInUse."""
        name = call.given.pgName
        if name not in self._switch_of:
            raise vim.fault.NotFound(msg=f"There is no port group '{name}'.")
        for machine in self._site.machines:
            if any(card.backing.deviceName == name for card in hardware.cards(machine.config)):
                raise vim.fault.ResourceInUse(name=name, msg=f"The port group '{name}' is in use by {machine.name}.")
        with self.registry.changing():
            self._site.networks.pop(name).remove()
            del self._switch_of[name]
            self._folder.child_entity = [item.ref for item in self._site.networks.values()]


def _spec(name: str, switch: str) -> Any:
    return vim.host.PortGroup.Specification(name=name, vswitchName=switch, vlanId=0, policy=vim.host.NetworkPolicy())
