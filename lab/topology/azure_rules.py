"""What must be true of replication to Azure (seed L48-68). Pure: a topology in, findings out."""

from __future__ import annotations

from collections.abc import Iterator

from lab.topology.azure import Azure
from lab.topology.findings import Finding, Location, dangling
from lab.topology.hosts import EsxiHost, LibvirtHost
from lab.topology.machines import Role
from lab.topology.model import Topology
from lab.topology.networks import SwitchNetwork
from lab.topology.scenario import Scenario
from lab.topology.stack import Relay

HERE: Location = ("azure",)
ROLES = (Role.CONFIGURATION_SERVER, Role.PROCESS_SERVER, Role.MASTER_TARGET)


def azure_findings(topology: Topology) -> Iterator[Finding]:
    """Yield what is wrong with Azure, its endpoints, and who is replicated there."""
    needed, azure = not topology.scenario.to_secondary_site, topology.azure
    if needed and azure is None:
        yield Finding(HERE, f"scenario {topology.scenario} needs 'azure': where it is and how it is reached")
    if azure is not None:
        yield from dangling("host", azure.host, topology.hosts, (*HERE, "host"))
        host = topology.hosts.get(azure.host)
        if host is not None and not isinstance(host, LibvirtHost):
            yield Finding((*HERE, "host"), f"machines in Azure run on a libvirt host; '{azure.host}' is {host.where}")
        yield from _route(topology, azure)
    for name, protection in topology.stack.protect.items():
        here: Location = ("stack", "protect", name, "master_target")
        if needed and protection.master_target is not None:
            yield Finding(here, f"{name} is replicated to Azure, without a master target (seed L50)")
        if not needed and protection.master_target is None:
            yield Finding(here, f"{name} needs 'master_target'")
        if needed and protection.failback is not None:
            yield from _way_back(topology, name, protection.failback)
    if topology.scenario.over_configuration_server:
        yield from _single_server(topology)


def _route(topology: Topology, azure: Azure) -> Iterator[Finding]:
    network = topology.networks.get(azure.route)
    if network is None:
        yield from dangling("network", azure.route, topology.networks, (*HERE, "route"))
        return
    if not isinstance(network, SwitchNetwork) or network.kind not in ("internet", "expressroute"):
        reason = " (replication over a site-to-site VPN is not supported, seed L68)" if network.kind == "vpn" else ""
        message = f"'{azure.route}' is of kind {network.kind}; internet or expressroute is needed{reason}"
        yield Finding((*HERE, "route"), message)
        return
    addresses = {"vault_address": azure.vault_address, "storage_address": azure.storage_address}
    for key, address in addresses.items():
        if address not in network.subnet:
            yield Finding((*HERE, key), f"{address} is outside {network.subnet} of network '{azure.route}'")
    if azure.vault_address == azure.storage_address:
        yield Finding((*HERE, "storage_address"), "vault and storage need addresses of their own: both listen on 443")
    taken = {
        interface.address: name
        for name, machine in topology.machines.items()
        for interface in machine.interfaces
        if interface.network == azure.route
    }
    for key, address in addresses.items():
        if address in taken:
            yield Finding((*HERE, key), f"{address} on {azure.route} belongs to {taken[address]} already")


def _way_back(topology: Topology, name: str, back: Relay) -> Iterator[Finding]:
    """Yield why a machine cannot come back: only to VMware (seed L79, L90), so its master target is there (C11)."""
    here: Location = ("stack", "protect", name, "failback", "master_target")
    target, machine = topology.machines.get(back.master_target), topology.machines.get(name)
    if target is None or machine is None:
        return
    host = topology.hosts.get(topology.sites[target.site].host) if target.site in topology.sites else None
    if host is not None and not isinstance(host, EsxiHost):
        message = f"from Azure machines come back to VMware only (seed L90); {back.master_target} is on {host.where}"
        yield Finding(here, message)
    new = machine.replica is not None and bool(machine.replica.failback_interfaces)
    if topology.scenario is Scenario.P2A and not new:
        message = f"{name} comes back as a new VMware machine and needs 'failback_interfaces' for it"
        yield Finding(("machines", name, "replica"), message)
    if not new and target.site != machine.site:
        yield Finding(here, f"{name} comes back to its own site, and {back.master_target} is at {target.site}")


def _single_server(topology: Topology) -> Iterator[Finding]:
    """One management server has all three roles; further process servers and master targets may be added (L48-50)."""
    for server, machine in topology.machines_with(Role.CONFIGURATION_SERVER).items():
        missing = [role.value for role in ROLES if role not in machine.roles]
        if missing:
            message = f"the management server has all three roles (seed L48); {server} is no {', '.join(missing)}"
            yield Finding(("machines", server, "roles"), message)
