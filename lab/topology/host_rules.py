"""What must be true of replication from hosts (seed L93-111, L153-193). Pure: a topology in, findings out."""

from __future__ import annotations

from collections.abc import Iterator

from lab.topology.findings import Finding, Location, dangling, named_twice
from lab.topology.hosts import EsxiHost, HypervHost, NestedHost
from lab.topology.machines import Machine, Replica, Role
from lab.topology.model import Topology
from lab.topology.scenario import Scenario
from lab.topology.stack import Cloud, HostProtection, HyperVSite
from lab.topology.units import format_size

SCENARIOS = frozenset({Scenario.H2A, Scenario.H2A_VMM, Scenario.H2S})
COPY_FREQUENCIES_S = (30.0, 300.0, 900.0)
"""How often a host may send changes (domain 2.1)."""
HOST_RESERVE = 512 << 20
"""Bytes of memory that a hypervisor host keeps for itself."""


def host_findings(topology: Topology) -> Iterator[Finding]:
    """Yield what is wrong with nested hosts, clouds and sites, and machines that are replicated from their host."""
    yield from _nested(topology)
    yield from _management(topology)
    stack, here = topology.stack, ("stack", "protect_from_host")
    if topology.scenario not in SCENARIOS:
        if stack.protect_from_host:
            yield Finding(here, f"in scenario {topology.scenario} no machine is replicated from its host")
        return
    if stack.protect:
        message = f"in scenario {topology.scenario} machines are replicated from their host: see 'protect_from_host'"
        yield Finding(("stack", "protect"), message)
    if not stack.protect_from_host:
        yield Finding(here, f"scenario {topology.scenario} needs a machine that is replicated from its host")
    for name, group in stack.groups.items():
        if group.multi_vm_consistency:
            message = "machines that are replicated from their host share no recovery points"
            yield Finding(("stack", "groups", name, "multi_vm_consistency"), message)
    for name, protection in stack.protect_from_host.items():
        yield from _protection(topology, name, protection, (*here, name))


def _nested(topology: Topology) -> Iterator[Finding]:
    holders = topology.machines_with(Role.HYPERVISOR_HOST)
    for name, host in topology.hosts.items():
        if isinstance(host, NestedHost):
            location = ("hosts", name, "machine")
            yield from dangling("machine with role 'hypervisor-host'", host.machine, holders, location)
            outer = topology.hosts.get(topology.host_name_of(host.machine)) if host.machine in holders else None
            if isinstance(outer, EsxiHost | HypervHost):
                message = f"{host.machine} is on a host of kind '{outer.kind}': a nested host has to be on libvirt"
                yield Finding(location, message)
    used: dict[str, int] = {}
    for name, machine in topology.machines.items():
        yield from (
            dangling("host", machine.host or "", topology.hosts, ("machines", name, "host")) if machine.host else ()
        )
        inside = topology.inside_of(name) if machine.site in topology.sites else None
        if inside is None or inside not in topology.machines:
            continue
        used[inside] = used.get(inside, HOST_RESERVE) + machine.memory
        if topology.machines[inside].site != machine.site:
            yield Finding(("machines", name, "site"), f"{name} runs inside of {inside}, which is at another site")
        if inside == name or topology.inside_of(inside) is not None:
            yield Finding(("machines", name, "host"), f"{name} cannot run inside of {inside}: hosts nest once")
    for inside, memory in used.items():
        if memory > topology.machines[inside].memory:
            needed = f"its machines and the host itself need {format_size(memory)}"
            yield Finding(("machines", inside, "memory"), f"{inside}: {needed}")


def _management(topology: Topology) -> Iterator[Finding]:
    hosts, servers = topology.machines_with(Role.HYPERVISOR_HOST), topology.machines_with(Role.VMM_SERVER)
    stack = topology.stack
    everywhere = [host for cloud in stack.clouds.values() for host in cloud.hosts]
    everywhere += [host for site in stack.hyper_v_sites.values() for host in site.hosts]
    yield from named_twice("host of a cloud or site", everywhere, ("stack", "clouds"))
    for name, cloud in stack.clouds.items():
        yield from dangling("VMM server", cloud.vmm, servers, ("stack", "clouds", name, "vmm"))
    places: dict[Location, Cloud | HyperVSite] = {
        **{("stack", "clouds", name): cloud for name, cloud in stack.clouds.items()},
        **{("stack", "hyper_v_sites", name): site for name, site in stack.hyper_v_sites.items()},
    }
    for here, place in places.items():
        for position, host in enumerate(place.hosts):
            yield from dangling("hypervisor host", host, hosts, (*here, "hosts", position))
        if place.policy is not None:
            yield from _policy(topology, place.policy, (*here, "policy"))


def _policy(topology: Topology, name: str, here: Location) -> Iterator[Finding]:
    yield from dangling("policy", name, topology.stack.policies, here)
    policy = topology.stack.policies.get(name)
    if policy is not None and policy.recovery_point_interval not in COPY_FREQUENCIES_S:
        known = "30 s, 5 min or 15 min"
        yield Finding(here, f"a host sends changes every {known}, not every {policy.recovery_point_interval:g} s")


def _protection(topology: Topology, name: str, protection: HostProtection, here: Location) -> Iterator[Finding]:
    yield from dangling("machine", name, topology.machines, here)
    machine = topology.machines.get(name)
    if machine is None or machine.site not in topology.sites:
        return
    if Role.PROTECTED not in machine.roles:
        yield Finding(here, f"{name} does not have role 'protected'")
    if machine.replica is None:
        yield Finding(("machines", name), f"{name} is protected and needs 'replica'")
    else:
        yield from _keeps_its_addresses(name, machine, machine.replica)
    inside = topology.inside_of(name)
    if inside is None:
        yield Finding(
            ("machines", name, "host"), f"{name} has to run inside of a hypervisor host (a host of kind 'nested')"
        )
    to_site = topology.scenario.to_secondary_site
    if to_site != (protection.recovery_host is not None):
        yield Finding(here, f"scenario {topology.scenario}: 'recovery_host' is for a secondary site, and needed there")
    if protection.recovery_host is not None:
        hosts = topology.machines_with(Role.HYPERVISOR_HOST)
        yield from dangling("hypervisor host", protection.recovery_host, hosts, (*here, "recovery_host"))
    yield from _managed(topology, name, inside, protection.recovery_host, here)


def _keeps_its_addresses(name: str, machine: Machine, replica: Replica) -> Iterator[Finding]:
    """Nothing is installed in it, so nothing changes its network configuration."""
    own = [card.address for card in machine.interfaces if card.address is not None]
    for key in ("interfaces", "test_interfaces", "failback_interfaces"):
        copies = [card.address for card in getattr(replica, key)]
        if copies and copies != own:
            told = ", ".join(str(address) for address in own)
            message = f"{name} is replicated from its host and keeps its addresses: {told} are expected"
            yield Finding(("machines", name, "replica", key), message)


def _managed(
    topology: Topology, name: str, inside: str | None, recovery: str | None, here: Location
) -> Iterator[Finding]:
    """A secondary site needs clouds on both sides (seed L128); to Azure a Hyper-V site will do (seed L98)."""
    clouds = {host: cloud for cloud in topology.stack.clouds.values() for host in cloud.hosts}
    sites = {host for site in topology.stack.hyper_v_sites.values() for host in site.hosts}
    if recovery is not None:
        for host in (inside, recovery):
            if host is not None and host not in clouds:
                yield Finding(here, f"host {host} is in no VMM cloud, which a secondary site needs (seed L128)")
    elif inside is not None and inside not in {*clouds, *sites}:
        yield Finding(here, f"host {inside} of {name} is in no Hyper-V site and no cloud (seed L98)")
    source = clouds.get(inside or "")
    if source is not None and source.policy is None:
        yield Finding(here, f"the cloud of {name} needs a policy, which all its machines have (seed L100)")
