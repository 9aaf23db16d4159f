"""Configuration files of the reference stack's components. Pure: topology in, JSON out."""

from __future__ import annotations

from typing import Any

from lab.errors import BadInput
from lab.stacks.addresses import address_towards, server_addresses
from lab.stacks.reference.settings import change_log_disk, protected_disks, switched_by_fabric
from lab.topology.machines import Role
from lab.topology.model import Topology
from lab.topology.naming import disk_serial
from lab.topology.networks import SwitchNetwork

HOST_FROM_MACHINE = "10.0.2.2"
"""Where a machine with ``host_access`` finds this host (QEMU's user network)."""
CONFIGURATION_SERVER = "configuration-server"
CONSOLE = "console"
PORT = 443
ETC = "/etc/recovery"
STATE = "/var/lib/recovery"
SCRIPTS = "/usr/local/lib/recovery/scripts"
"""Who runs the scripts of recovery plans has no rights, and could not look into the folders of the stack."""
JSON = dict[str, Any]


def configuration_server_name(topology: Topology) -> str:
    """Return the machine that is the configuration server. Raises BadInput unless there is exactly one."""
    names = list(topology.machines_with(Role.CONFIGURATION_SERVER))
    if len(names) != 1:
        raise BadInput(f"{topology.source}: the reference stack needs one configuration server, there are {len(names)}")
    return names[0]


def configuration_server_config(topology: Topology, fabric_ports: dict[str, int]) -> JSON:
    """Return the configuration of the configuration server; ``fabric_ports`` by site."""
    name = configuration_server_name(topology)
    addresses = [str(address) for _, address in server_addresses(topology, name)]
    return {
        "kind": CONFIGURATION_SERVER,
        "name": name,
        "listen": {"address": "0.0.0.0", "port": PORT},  # noqa: S104 - machines of both sites call it
        "addresses": [*addresses, "127.0.0.1"],
        "configuration_server": {"address": "127.0.0.1", "port": PORT},
        "identity_dir": f"{ETC}/{CONFIGURATION_SERVER}",
        "ca_dir": f"{ETC}/ca",
        "issued_dir": f"{ETC}/issued",
        "state_dir": f"{STATE}/{CONFIGURATION_SERVER}",
        "database": f"{STATE}/{CONFIGURATION_SERVER}/state.db",
        "passphrase_file": f"{ETC}/passphrase",
        "scripts_dir": SCRIPTS,
        "site_networks": _site_networks(topology, name),
        "replica_disks": {
            target: settings.replica_disks
            for target, settings in topology.stack.master_targets.items()
            if settings.replica_disks is not None
        },
        "fabrics": {site: {"address": HOST_FROM_MACHINE, "port": port} for site, port in fabric_ports.items()},
        **_vault(topology),
    }


def _vault(topology: Topology) -> JSON:
    if topology.azure is None:
        return {}
    return {
        "vault": {"address": str(topology.azure.vault_address), "port": PORT},
        "vault_addresses": ["127.0.0.1"],
    }


def console_config(topology: Topology, machine: str) -> JSON:
    """Return the configuration of the console on a machine."""
    return {
        "kind": CONSOLE,
        "name": machine,
        "configuration_server": management_endpoint(topology, machine),
        "identity_dir": f"{ETC}/{CONSOLE}",
        "state_dir": f"{STATE}/{CONSOLE}",
        "addresses": [],
    }


def _site_networks(topology: Topology, server: str) -> list[str]:
    """Return the subnets of a server's networks that only machines of its site are on."""
    site = topology.machines[server].site
    shared = {
        card.network for machine in topology.machines.values() if machine.site != site for card in machine.interfaces
    }
    mine = {card.network for card in topology.machines[server].interfaces} - shared
    found = {name: network for name, network in topology.networks.items() if name in mine}
    return sorted(str(network.subnet) for network in found.values() if isinstance(network, SwitchNetwork))


def server_config(topology: Topology, role: Role, machine: str, data_port: int) -> JSON:
    """Return the configuration of a process server or master target."""
    return {
        "kind": role.value,
        "name": machine,
        "configuration_server": management_endpoint(topology, machine),
        "identity_dir": f"{ETC}/{role.value}",
        "state_dir": f"{STATE}/{role.value}",
        "addresses": [*(str(address) for _, address in server_addresses(topology, machine)), "127.0.0.1"],
        "data_port": data_port,
    }


def management_endpoint(topology: Topology, machine: str) -> JSON:
    """Return where a machine finds the configuration server."""
    server = configuration_server_name(topology)
    if machine == server:
        return {"address": "127.0.0.1", "port": PORT}
    return {"address": address_towards(topology, topology.machines[machine].interfaces, server), "port": PORT}


def mobility_settings(topology: Topology, machine: str) -> JSON:
    """Return what the agent of a protected machine is told about its disks. Raises BadInput without a change log."""
    disks = protected_disks(topology.machines[machine])
    return {
        "disks": [{key: disk[key] for key in ("index", "name", "serial")} for disk in disks],
        "change_log": {"serial": disk_serial(change_log_disk(topology, machine).name)},
    }


def fabric_config(topology: Topology, site: str, port: int, identity_dir: str, driver: JSON) -> JSON:
    """Return the configuration of a site's fabric: it may touch what the site's stack needs and nothing else."""
    here = {name: machine for name, machine in topology.machines.items() if machine.site == site}
    mine = {name: machine for name, machine in here.items() if switched_by_fabric(machine)}
    targets = [name for name, machine in mine.items() if {Role.MASTER_TARGET, Role.PROTECTED} & set(machine.roles)]
    powered = [name for name, machine in mine.items() if Role.PROTECTED in machine.roles]
    return {
        "name": site,
        "listen": {"address": "127.0.0.1", "port": port},
        "identity_dir": identity_dir,
        "driver": driver,
        "attach_targets": targets,
        "power_targets": powered,
    }
