"""Topologies of any size, as text: what the harness itself costs shows only with many machines. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from lab.errors import BadInput

MOST = 60_000
"""Machines; each has an address in networks of 65,536."""
SERVERS = 2
_HEAD = """topology: large
scenario: P2S
hosts:
  local: {kind: libvirt, uri: "qemu:///system"}
sites:
  primary: {host: local}
  recovery: {host: local}
images:
  debian: {recipe: debian-12}
networks:
  management: {kind: management}
  primary: {kind: switch, subnet: 10.1.0.0/16}
  recovery: {kind: switch, subnet: 10.2.0.0/16}
  wan: {kind: switch, subnet: 10.3.0.0/24}
  bubble: {kind: switch, subnet: 10.2.0.0/16, isolated: true}
machines:
  ps1:
    site: primary
    roles: [process-server, master-target]
    image: debian
    memory: 512 MiB
    disks: [{name: system, size: 900 MiB, purpose: system}]
    interfaces: [{network: management}, {network: primary, address: 10.1.0.1}, {network: wan, address: 10.3.0.1}]
  mt1:
    site: recovery
    roles: [configuration-server, master-target]
    image: debian
    memory: 512 MiB
    disks: [{name: system, size: 900 MiB, purpose: system}]
    interfaces: [{network: management}, {network: recovery, address: 10.2.0.1}, {network: wan, address: 10.3.0.2}]
"""
_MACHINE = """  m{number}:
    site: primary
    roles: [protected]
    image: debian
    memory: 384 MiB
    disks:
      - {{name: system, size: 900 MiB, purpose: system}}
      - {{name: changes, size: 1 GiB, purpose: change-log}}
    interfaces:
      - {{network: management}}
      - {{network: primary, address: {address}}}
    replica:
      interfaces:
        - {{network: recovery, address: {replica}}}
"""
_STACK = """stack:
  adapter: reference
  pairing_passphrase: {generate: true}
  policies:
    standard: {recovery_point_interval: 15 s, retention: 2 h, rpo_threshold: 60 s}
  protect:
"""
_PROTECTION = "{policy: standard, process_server: ps1, master_target: mt1}"


def large_topology(machines: int) -> str:
    """Return a topology file of two servers and of protected machines, that many together. Raises BadInput."""
    if not SERVERS < machines <= MOST:
        raise BadInput(f"a large topology has from {SERVERS + 1} to {MOST} machines, not {machines}")
    return "".join(_parts(machines - SERVERS))


def _parts(protected: int) -> Iterator[str]:
    yield _HEAD
    for number in range(1, protected + 1):
        place = number + 256
        address, replica = (IPv4Address(f"10.{network}.0.0") + place for network in (1, 2))
        yield _MACHINE.format(number=number, address=address, replica=replica)
    yield _STACK
    yield f"    m1: &protection {_PROTECTION}\n"
    for number in range(2, protected + 1):
        yield f"    m{number}: *protection\n"
