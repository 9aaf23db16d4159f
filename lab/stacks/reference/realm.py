"""A Kerberos realm for the hosts of a lab: its KDC stands in for Active Directory. Keys go to their hosts only."""

from __future__ import annotations

import secrets

from lab.errors import BadInput
from lab.provision.board import Board
from lab.provision.lab import Lab, LabMachine
from lab.stacks.addresses import address_towards, server_addresses
from lab.stacks.reference.components import ETC
from lab.topology.machines import Role
from lab.topology.model import Topology

KEYTAB = f"{ETC}/provider.keytab"
KDC_SECONDS = 300.0
KDC_PORT = 88
KDC_SERVICE = "krb5-kdc"
CLIENT, SERVER = "/etc/krb5.conf", "/etc/krb5kdc/kdc.conf"
_UNIT_MORE = f"/etc/systemd/system/{KDC_SERVICE}.service.d"
# At boot it may be there before its addresses are.
_AGAIN = "[Service]\nRestart=on-failure\nRestartSec=3\n"
_HANDED_OUT = "/run/recovery-keytabs"
# Nothing is looked up in a DNS that labs do not have; principals have the names of machines, not of addresses.
_CLIENT = """[libdefaults]
 default_realm = {realm}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 udp_preference_limit = 1
[realms]
 {realm} = {{
  kdc = {address}:{port}
 }}
"""
_SERVER = """[kdcdefaults]
 kdc_listen = ""
 kdc_tcp_listen = {listen}
[realms]
 {realm} = {{
  database_name = /var/lib/krb5kdc/principal
  key_stash_file = /etc/krb5kdc/stash
  acl_file = /etc/krb5kdc/kadm5.acl
 }}
"""


def realm_of(topology: Topology) -> str:
    """Return the realm of a topology's hosts."""
    return f"{topology.name}.recovery-lab".upper()


def principal_of(host: str) -> str:
    """Return the service principal of a host."""
    return f"host/{host}"


def client_configuration(topology: Topology, machine: str, kdc: str) -> str:
    """Return how a machine finds the KDC. Raises BadInput when the topology gives no way to it."""
    address = "127.0.0.1" if machine == kdc else address_towards(topology, topology.machines[machine].interfaces, kdc)
    return client_text(realm_of(topology), address, KDC_PORT)


def client_text(realm: str, address: str, port: int) -> str:
    """Return the krb5.conf of whoever has a KDC at an address, and no DNS that would name another."""
    return _CLIENT.format(realm=realm, address=address, port=port)


def server_configuration(topology: Topology, kdc: str) -> str:
    """Return where the KDC listens: on networks that hosts are on, and for itself."""
    hosts = topology.machines_with(Role.HYPERVISOR_HOST)
    called = {address_towards(topology, host.interfaces, kdc) for host in hosts.values()}
    known = [str(address) for _, address in server_addresses(topology, kdc)]
    listen = " ".join(f"{address}:{KDC_PORT}" for address in ("127.0.0.1", *known) if address in {"127.0.0.1", *called})
    return _SERVER.format(realm=realm_of(topology), listen=listen)


def make_realm(lab: Lab, board: Board, kdc: LabMachine) -> None:
    """Make a realm with a principal for each host, and give each host the keys of its own.

    Raises:
        LabError: a step failed; the message names the machine.
    """
    board.step(f"{kdc.name} {Role.KDC}", "making a realm")
    topology = lab.topology
    hosts = list(topology.machines_with(Role.HYPERVISOR_HOST))
    if not hosts:
        raise BadInput(f"{topology.source}: a KDC is for hypervisor hosts, and there are none")
    kdc.ssh.put(client_configuration(topology, kdc.name, kdc.name).encode(), CLIENT)
    kdc.ssh.put(server_configuration(topology, kdc.name).encode(), SERVER)
    master = secrets.token_urlsafe(32)
    kdc.ssh.check("kdb5_util", "create", "-s", stdin=f"{master}\n{master}\n", seconds=KDC_SECONDS)
    for host in hosts:
        ssh = lab.machine(host).ssh
        add_principal(kdc, host)
        ssh.check("install", "-d", "-m", "700", ETC)
        ssh.put(new_keys(kdc, host), KEYTAB, mode=0o600)
        ssh.put(client_configuration(topology, host, kdc.name).encode(), CLIENT)
    kdc.ssh.check("install", "-d", _UNIT_MORE)
    kdc.ssh.put(_AGAIN.encode(), f"{_UNIT_MORE}/again.conf")
    kdc.ssh.check("systemctl", "unmask", KDC_SERVICE)
    kdc.ssh.check("systemctl", "enable", "--now", KDC_SERVICE, seconds=KDC_SECONDS)
    board.step(f"{kdc.name} {Role.KDC}", "ready")


def add_principal(kdc: LabMachine, host: str) -> None:
    """Make the principal of a host; one that is there already stays. Raises CommandFailed."""
    known = kdc.ssh.check("kadmin.local", "listprincs", f"{principal_of(host)}@*", seconds=KDC_SECONDS)
    if principal_of(host) not in known:
        kdc.ssh.check("kadmin.local", "addprinc", "-randkey", principal_of(host), seconds=KDC_SECONDS)


def new_keys(kdc: LabMachine, host: str) -> bytes:
    """Return a keytab with new keys of a host; those that it had are void from now on. Raises CommandFailed."""
    path = f"{_HANDED_OUT}/{host}"
    kdc.ssh.check("install", "-d", "-m", "700", _HANDED_OUT)
    try:
        kdc.ssh.check("kadmin.local", "ktadd", "-k", path, principal_of(host), seconds=KDC_SECONDS)
        return kdc.ssh.get(path)
    finally:
        kdc.ssh.run("rm", "-f", path)
