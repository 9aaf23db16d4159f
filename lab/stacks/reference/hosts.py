"""The reference stack on hypervisor hosts: providers, the machines that they replicate, clouds and sites. Pure."""

from __future__ import annotations

import time
from typing import Any

from lab.errors import BadInput
from lab.hypervisors.libvirt.xml import domain_name
from lab.hypervisors.nested.host import DISKS, bridge_name
from lab.provision.nested import networks_inside
from lab.stacks.addresses import address_towards, server_addresses
from lab.stacks.reference.components import ETC, JSON, STATE, management_endpoint
from lab.stacks.reference.realm import KEYTAB, realm_of
from lab.stacks.reference.settings import MacOf, protected_disks, server_name
from lab.topology.images import RecipeImage
from lab.topology.machines import Machine, Replica, Role
from lab.topology.model import Topology
from lab.topology.networks import Interface, ManagementNetwork
from lab.topology.stack import Cloud, HostProtection, HyperVSite

PROVIDER = "provider"
HYPER_V, SITE, VMM = "hyper-v", "hyper-v-site", "vmm"


def provider_config(topology: Topology, machine: str) -> JSON:
    """Return the configuration of the provider on a host or a VMM server."""
    common = {
        "kind": PROVIDER,
        "name": machine,
        "configuration_server": management_endpoint(topology, machine),
        "identity_dir": f"{ETC}/{PROVIDER}",
        "state_dir": f"{STATE}/{PROVIDER}",
        "addresses": [*(str(address) for _, address in server_addresses(topology, machine)), "127.0.0.1"],
    }
    if Role.HYPERVISOR_HOST not in topology.machines[machine].roles:
        return {**common, "manages_only": True}
    return {
        **common,
        **_data_port(topology, machine),
        **_kerberos(topology, machine),
        "hypervisor": {
            "uri": "qemu:///system",
            "domain_type": "kvm",
            "image_folders": [str(DISKS)],
            "bridges": {network: bridge_name(network) for network in networks_inside(topology)},
        },
    }


def _data_port(topology: Topology, machine: str) -> JSON:
    """Return where a host receives data of others, on the way between the sites and nowhere else (seed L167)."""
    peers = _peers(topology, machine)
    if not peers:
        return {}
    policy = topology.stack.policies[policy_of_host(topology, machine, peers[0])]
    address = address_towards(topology, topology.machines[peers[0]].interfaces, machine)
    return {"data_port": policy.master_target_port, "data_address": address}


def _peers(topology: Topology, machine: str) -> list[str]:
    """Return the hosts that data of a host goes to or comes from."""
    return [
        peer
        for name, protection in topology.stack.protect_from_host.items()
        if protection.recovery_host is not None
        for pair in ((topology.inside_of(name), protection.recovery_host),)
        if machine in pair
        for peer in pair
        if peer is not None and peer != machine
    ]


def _kerberos(topology: Topology, machine: str) -> JSON:
    """Return what a host knows of the realm, if the topology has one; whether it is used says the policy."""
    peers = sorted(set(_peers(topology, machine)))
    if not topology.machines_with(Role.KDC) or not peers:
        return {}
    return {"kerberos": {"realm": realm_of(topology), "keytab": KEYTAB, "peers": peers}}


def policy_of_host(topology: Topology, *hosts: str) -> str:
    """Return the policy of the cloud or site that the first of these hosts is in that has one. Raises BadInput."""
    stack = topology.stack
    places: list[Cloud | HyperVSite] = [*stack.clouds.values(), *stack.hyper_v_sites.values()]
    for host in hosts:
        for place in places:
            if host in place.hosts and place.policy is not None:
                return place.policy
    raise BadInput(f"{topology.source}: no cloud or site of {', '.join(hosts)} has a policy")


def host_settings(topology: Topology, lab: str, name: str, mac_of: MacOf) -> dict[str, Any]:
    """Return the document of ``PUT /v1/machines/{name}`` for a machine that is replicated from its host.

    Nothing inside of it changes its network configuration, so every card of a replica has the MAC address of the
    machine's own card at the same place, and with it its address.

    Raises:
        BadInput: the topology does not say on which host it runs, or where its replica goes.
    """
    machine, protection = topology.machines[name], topology.stack.protect_from_host[name]
    host = topology.inside_of(name)
    if host is None or machine.replica is None:
        raise BadInput(f"{topology.source}: machines.{name}: 'host' and 'replica' are needed")
    start = protection.start_after
    source = {
        "name": host,
        "guest": domain_name(lab, name),
        "start_at_ns": time.time_ns() + int(start * 1e9) if start else 0,
        **system_inside(topology, machine),
    }
    return {
        "policy": policy_of_host(topology, host),
        **_sides(topology, name, host, source, protection),
        "disks": protected_disks(machine),
        "cpus": machine.cpus,
        "memory_mib": machine.memory // 2**20,
        **_cards_of_copies(topology, name, machine, machine.replica, mac_of),
    }


def system_inside(topology: Topology, machine: Machine) -> JSON:
    """What an operator says who asks for protection: nothing of the stack is in the machine. Own images say nothing."""
    image = topology.images[machine.image]
    system, version, *_ = (*image.recipe.split("-"), "") if isinstance(image, RecipeImage) else ("", "")
    if not version:
        return {}
    return {"system": {"id": system, "version": version}}


def _public(topology: Topology, name: str) -> JSON:
    """Return the public address of a replica, on the network by which Azure is reached."""
    replica, azure = topology.machines[name].replica, topology.azure
    if replica is None or replica.public_address is None or azure is None:
        return {}
    network = topology.networks[azure.route]
    prefix = network.subnet.prefixlen  # type: ignore[union-attr]
    return {"public": {"network": azure.route, "address": str(replica.public_address), "prefix": prefix}}


def _sides(topology: Topology, name: str, host: str, source: JSON, protection: HostProtection) -> JSON:
    """Each side by the address at which the other one calls."""
    recovery = protection.recovery_host
    if recovery is None:
        azure = {"server": server_name(topology), "source": HYPER_V, **_public(topology, name)}
        return {"host": source, "azure": azure}
    here, there = (topology.machines[each].interfaces for each in (host, recovery))
    return {
        "host": {**source, "address": address_towards(topology, there, host)},
        "recovery_host": {"name": recovery, "address": address_towards(topology, here, recovery)},
    }


def _cards_of_copies(topology: Topology, name: str, machine: Machine, replica: Replica, mac_of: MacOf) -> JSON:
    kinds = {
        "replica_nics": replica.interfaces,
        "test_nics": replica.test_interfaces,
        "failback_nics": replica.failback_interfaces,
    }
    return {key: _cards(topology, name, machine, cards, mac_of) if cards else [] for key, cards in kinds.items()}


def _cards(
    topology: Topology, name: str, machine: Machine, copies: tuple[Interface, ...], mac_of: MacOf
) -> list[dict[str, Any]]:
    def managed(card: Interface) -> bool:
        return isinstance(topology.networks[card.network], ManagementNetwork)

    management = [
        {"network": card.network, "mac": mac_of(name, card.network), "address": None}
        for card in machine.interfaces
        if managed(card)
    ]
    own = [card for card in machine.interfaces if not managed(card)]
    switched = [
        {
            "network": copy.network,
            "mac": mac_of(name, card.network),
            "address": str(copy.address),
            "prefix": topology.networks[copy.network].subnet.prefixlen,  # type: ignore[union-attr]
        }
        for card, copy in zip(own, copies, strict=False)
    ]
    return [*management, *switched]


def management_documents(topology: Topology) -> list[tuple[str, JSON]]:
    """Return path and document of every site, VMM server and cloud, in the order in which they are set up."""
    stack = topology.stack
    servers = dict.fromkeys(cloud.vmm for cloud in stack.clouds.values())
    found: list[tuple[str, JSON]] = [(f"/v1/fabrics/{server}", {"kind": VMM}) for server in servers]
    for name, cloud in stack.clouds.items():
        policy = {"policy": cloud.policy} if cloud.policy else {}
        document = {"fabric": cloud.vmm, "capability_profile": HYPER_V, "hosts": list(cloud.hosts), **policy}
        found.append((f"/v1/clouds/{name}", document))
    for name, site in stack.hyper_v_sites.items():
        found.append((f"/v1/fabrics/{name}", {"kind": SITE, "hosts": list(site.hosts), "policy": site.policy}))
    return found
