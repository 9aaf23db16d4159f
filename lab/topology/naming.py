"""Names that follow from other names, so that nobody has to remember them."""

from __future__ import annotations

import hashlib

SERIAL_LENGTH = 20
"""More characters than this are not shown by virtio disks."""


def mac_for(topology_name: str, machine: str, key: str) -> str:
    """Return the MAC address of a machine's card ``key`` (usually its network): the same on every run."""
    digest = hashlib.sha256(f"{topology_name}\x00{machine}\x00{key}".encode()).digest()
    return f"52:54:00:{digest[:3].hex(':')}"


def disk_serial(disk_name: str) -> str:
    """Return the serial number by which a machine finds its disk."""
    return disk_name[:SERIAL_LENGTH]
