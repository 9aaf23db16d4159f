"""What must be true between the parts of a topology. Pure: a topology in, findings out."""

from __future__ import annotations

from collections.abc import Iterator

from lab.topology.addresses import address_findings
from lab.topology.azure_rules import azure_findings
from lab.topology.bmc_rules import bmc_findings
from lab.topology.findings import Finding, Location, dangling, named_twice
from lab.topology.host_rules import host_findings
from lab.topology.hosts import EsxiHost
from lab.topology.kerberos_rules import kerberos_findings
from lab.topology.lent_rules import lent_findings
from lab.topology.machines import Machine, Purpose, Role
from lab.topology.model import Topology
from lab.topology.naming import disk_serial
from lab.topology.netboot_rules import netboot_findings
from lab.topology.peer_rules import peer_findings
from lab.topology.public_rules import public_findings
from lab.topology.scenario import Scenario
from lab.topology.stack import Protection, Relay
from lab.topology.stack_rules import stack_findings

_AGENT_ROLES = (Role.PROTECTED, Role.CONFIGURATION_SERVER, Role.PROCESS_SERVER, Role.MASTER_TARGET)
REQUIRED_ROLES: dict[Scenario, tuple[Role, ...]] = {
    Scenario.V2A: _AGENT_ROLES,
    Scenario.P2A: _AGENT_ROLES,
    Scenario.V2S: _AGENT_ROLES,
    Scenario.P2S: _AGENT_ROLES,
    Scenario.H2A: (Role.PROTECTED, Role.CONFIGURATION_SERVER, Role.HYPERVISOR_HOST),
    Scenario.H2A_VMM: (Role.PROTECTED, Role.CONFIGURATION_SERVER, Role.HYPERVISOR_HOST, Role.VMM_SERVER),
    Scenario.H2S: (Role.PROTECTED, Role.CONFIGURATION_SERVER, Role.HYPERVISOR_HOST, Role.VMM_SERVER),
}
_ROLE_OF = {"process_server": Role.PROCESS_SERVER, "master_target": Role.MASTER_TARGET}
VMWARE = frozenset({Scenario.V2A, Scenario.V2S})
PHYSICAL = frozenset({Scenario.P2A, Scenario.P2S})
"""Scenarios whose protected machines are on ESXi."""
AGENT_SCENARIOS = frozenset({Scenario.V2A, Scenario.P2A, Scenario.V2S, Scenario.P2S})


def check(topology: Topology) -> Iterator[Finding]:
    """Yield everything that is wrong between the parts of ``topology``."""
    yield from _references(topology)
    yield from _scenario(topology)
    for name, machine in topology.machines.items():
        yield from _disks(topology, name, machine)
    yield from address_findings(topology)
    yield from stack_findings(topology)
    yield from azure_findings(topology)
    yield from host_findings(topology)
    yield from kerberos_findings(topology)
    yield from bmc_findings(topology)
    yield from lent_findings(topology)
    yield from netboot_findings(topology)
    yield from peer_findings(topology)
    yield from public_findings(topology)
    yield from _console(topology)
    for name, protection in topology.stack.protect.items():
        yield from _protection(topology, name, protection)


def _references(topology: Topology) -> Iterator[Finding]:
    machines = topology.machines
    for name, site in topology.sites.items():
        yield from dangling("host", site.host, topology.hosts, ("sites", name, "host"))
    for name, machine in machines.items():
        yield from dangling("site", machine.site, topology.sites, ("machines", name, "site"))
        yield from dangling("image", machine.image, topology.images, ("machines", name, "image"))
    for name, workload in topology.workloads.items():
        yield from dangling("machine", workload.machine, machines, ("workloads", name, "machine"))
    for index, stand_in in enumerate(topology.stand_ins):
        for place, machine_name in enumerate(stand_in.machines):
            yield from dangling("machine", machine_name, machines, ("stand_ins", index, "machines", place))
    for name, group in topology.stack.groups.items():
        for place, member in enumerate(group.members):
            location = ("stack", "groups", name, "members", place)
            yield from dangling("protected machine", member, topology.stack.protect, location)
        yield from named_twice("member", group.members, ("stack", "groups", name, "members"))


def _scenario(topology: Topology) -> Iterator[Finding]:
    for role in (Role.PROTECTED,) if topology.stack.protect_to_peer else REQUIRED_ROLES[topology.scenario]:
        if not topology.machines_with(role):
            yield Finding(("machines",), f"scenario {topology.scenario} needs a machine with role '{role}'")
    yield from _on_esxi(topology)
    if topology.scenario.to_secondary_site and len(topology.sites) < 2:  # noqa: PLR2004 - primary and secondary
        yield Finding(("sites",), f"scenario {topology.scenario} needs a second site")


def _on_esxi(topology: Topology) -> Iterator[Finding]:
    """Yield protected machines of a VMware scenario that are not on an ESXi host (seed L51, L126, L143)."""
    if topology.scenario not in VMWARE:
        return
    for name, machine in topology.machines_with(Role.PROTECTED).items():
        site = topology.sites.get(machine.site)
        host = topology.hosts.get(site.host) if site is not None else None
        if host is not None and not isinstance(host, EsxiHost):
            message = f"not-on-esxi: {name} of scenario {topology.scenario} is on a host of kind '{host.kind}'"
            yield Finding(("machines", name, "site"), f"{message}; a host of kind 'esxi' is expected")


def _console(topology: Topology) -> Iterator[Finding]:
    """Yield consoles that are not at the location of the configuration server (seed L141)."""
    servers = topology.machines_with(Role.CONFIGURATION_SERVER)
    sites = {server.site for server in servers.values()}
    for name, machine in topology.machines_with(Role.CONSOLE).items():
        if machine.site not in sites:
            message = f"console-elsewhere: {name} has role 'console' and is not at the site of {', '.join(servers)}"
            yield Finding(("machines", name, "roles"), message)


def _disks(topology: Topology, name: str, machine: Machine) -> Iterator[Finding]:
    here: Location = ("machines", name, "disks")
    purposes = [disk.purpose for disk in machine.disks]
    if purposes.count(Purpose.SYSTEM) != 1 or purposes[0] != Purpose.SYSTEM:
        yield Finding(here, f"{name} needs exactly one disk of purpose 'system', and it has to be the first")
    captures = Role.PROTECTED in machine.roles and topology.scenario in AGENT_SCENARIOS
    if captures and purposes.count(Purpose.CHANGE_LOG) != 1:
        yield Finding(here, f"{name} is protected and needs one disk of purpose 'change-log'")
    names = [disk.name for disk in machine.disks]
    yield from named_twice("disk", names, here)
    serials = [disk_serial(disk) for disk in dict.fromkeys(names)]
    yield from named_twice("a disk's serial number (the beginning of its name)", serials, here)
    yield from named_twice("mount", [disk.mount for disk in machine.disks if disk.mount], here)
    yield from named_twice("role", machine.roles, ("machines", name, "roles"))


def _protection(topology: Topology, name: str, protection: Protection) -> Iterator[Finding]:
    here: Location = ("stack", "protect", name)
    yield from dangling("machine", name, topology.machines, here)
    yield from dangling("policy", protection.policy, topology.stack.policies, (*here, "policy"))
    yield from _server(topology, "process_server", protection.process_server, here)
    if protection.master_target is not None:
        yield from _server(topology, "master_target", protection.master_target, here)
    if protection.failback:
        yield from _relay(topology, protection.failback, (*here, "failback"))
    machine = topology.machines.get(name)
    if machine is None:
        return
    if Role.PROTECTED not in machine.roles:
        yield Finding(here, f"{name} does not have role 'protected'")
    if machine.replica is None:
        yield Finding(("machines", name), f"{name} is protected and needs 'replica'")
    if topology.scenario.to_secondary_site:
        yield from _sides(topology, machine, protection, here)


def _sides(topology: Topology, machine: Machine, protection: Protection, here: Location) -> Iterator[Finding]:
    target = topology.machines.get(protection.master_target or "")
    if target and target.site == machine.site:
        message = f"master target '{protection.master_target}' is at the site of the machine it protects"
        yield Finding((*here, "master_target"), message)
    back = topology.machines.get(protection.failback.master_target) if protection.failback else None
    if back and back.site != machine.site:
        yield Finding((*here, "failback", "master_target"), "failback needs a master target at the machine's own site")


def _relay(topology: Topology, relay: Relay, here: Location) -> Iterator[Finding]:
    yield from _server(topology, "process_server", relay.process_server, here)
    yield from _server(topology, "master_target", relay.master_target, here)


def _server(topology: Topology, key: str, name: str, here: Location) -> tuple[Finding, ...]:
    role = _ROLE_OF[key]
    machine = topology.machines.get(name)
    if machine is not None and role in machine.roles:
        return ()
    holders = topology.machines_with(role)
    if machine is None:
        return dangling("machine", name, holders, (*here, key))
    message = f"{name} does not have role '{role}' (machines that do: {', '.join(holders)})"
    return (Finding((*here, key), message),)
