"""A protected machine and its standby as a resource of DRBD. Pure: the topology in, texts out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab.errors import BadInput
from lab.stacks.addresses import address_towards
from lab.topology.machines import Disk, Machine, Purpose
from lab.topology.model import Topology
from lab.topology.naming import disk_serial

DEVICE = "/dev/drbd0"
SECRET = re.compile(r"[A-Za-z0-9_.-]{8,64}")
"""What ``shared-secret`` of drbd.conf takes without quoting, at most 64 characters."""


@dataclass(frozen=True)
class Node:
    """One of the two machines; disks are named by their serial numbers."""

    name: str
    address: str
    disk: str
    metadata: str


@dataclass(frozen=True)
class Resource:
    """One mirrored disk, with the file system on it; ``mount`` is where whichever machine is primary has it."""

    source: Node
    standby: Node
    port: int
    filesystem: str
    mount: str

    @property
    def name(self) -> str:
        """DRBD's name of it: that of the protected machine."""
        return self.source.name

    @property
    def nodes(self) -> tuple[Node, Node]:
        """Both machines."""
        return self.source, self.standby

    def text(self, secret: str) -> str:
        """Return the configuration of both machines (drbd.conf(5), 8.4). It has the secret in it."""
        nodes = "".join(_node(node, self.port) for node in self.nodes)
        return (
            f"resource {self.name} {{\n"
            "  net {\n    protocol C;\n    cram-hmac-alg sha256;\n"
            f'    shared-secret "{secret}";\n    verify-alg sha256;\n'
            "    timeout 60;\n    connect-int 3;\n    ping-int 3;\n    ping-timeout 30;\n  }\n"
            # Resynchronisation at a steady rate: by itself DRBD begins at 250 KiB/s and grows slowly.
            "  disk {\n    on-io-error detach;\n    c-plan-ahead 0;\n    resync-rate 60M;\n  }\n"
            f"{nodes}}}\n"
        )


def resources(topology: Topology) -> dict[str, Resource]:
    """Return the resource of every protected machine.

    Raises:
        BadInput: a machine is protected in another way, or is not one with a single data disk that is mounted.
    """
    stack = topology.stack
    if set(stack.protect_to_peer) != set(stack.protected) or not stack.protect_to_peer:
        raise BadInput(f"{topology.source}: stack drbd mirrors machines to a peer: see 'stack.protect_to_peer'")
    return {name: _resource(topology, name) for name in stack.protect_to_peer}


def _resource(topology: Topology, name: str) -> Resource:
    protection = topology.stack.protect_to_peer[name]
    disks = [disk for disk in topology.machines[name].disks if disk.purpose is Purpose.DATA]
    if len(disks) != 1 or disks[0].filesystem is None or disks[0].mount is None:
        wanted = "exactly one data disk, with 'filesystem' and 'mount'"
        raise BadInput(f"{topology.source}: stack drbd mirrors one disk of a machine: {name} needs {wanted}")
    source, standby = (_side(topology, one, disks[0], other) for one, other in _both(name, protection.peer))
    return Resource(source, standby, protection.port, disks[0].filesystem, disks[0].mount)


def _both(name: str, peer: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (name, peer), (peer, name)


def _side(topology: Topology, name: str, disk: Disk, other: str) -> Node:
    address = address_towards(topology, topology.machines[other].interfaces, name)
    return Node(name, address, disk_serial(disk.name), disk_serial(_metadata(topology.machines[name]).name))


def _metadata(machine: Machine) -> Disk:
    """Return the disk for DRBD's bitmap and activity log; the rules of topologies see to it that there is one."""
    return next(disk for disk in machine.disks if disk.purpose is Purpose.CHANGE_LOG)


def _node(node: Node, port: int) -> str:
    return (
        f"  on {node.name} {{\n    device {DEVICE};\n    disk {by_serial(node.disk)};\n"
        f"    flexible-meta-disk {by_serial(node.metadata)};\n    address {node.address}:{port};\n  }}\n"
    )


def by_serial(serial: str) -> str:
    """Return udev's name of a virtio disk, which stays the same over restarts."""
    return f"/dev/disk/by-id/virtio-{serial}"
