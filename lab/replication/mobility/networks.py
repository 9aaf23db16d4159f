"""Addresses for the replica machine, already on the disk that is replicated.

The files match the replica's MAC addresses: on this machine nothing matches them and they do nothing.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from lab.replication.common.durable import JSON, write_atomically

DIRECTORY = Path("/etc/systemd/network")
PREFIX = "20-replica-"


def write_replica_networks(networks: Sequence[JSON], directory: Path = DIRECTORY) -> list[Path]:
    """Write one file for each ``{mac, address, prefix, routes: [{to, via}], gateway?}``; older ones are removed.

    Raises:
        ValueError: an address is not one.
    """
    contents = [_content(network) for network in networks]
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{PREFIX}{number}.network" for number in range(len(contents))]
    for old in set(directory.glob(f"{PREFIX}*.network")) - set(paths):
        old.unlink()
    for path, content in zip(paths, contents, strict=True):
        if not path.exists() or path.read_text() != content:
            write_atomically(path, content.encode(), 0o644)
    # The copy reads the disk, not the page cache of its file system.
    os.sync()
    return paths


def _content(network: JSON) -> str:
    interface = ipaddress.ip_interface(f"{network['address']}/{network['prefix']}")
    lines = ["[Match]", f"MACAddress={network['mac']}", "", "[Network]", f"Address={interface}"]
    if network.get("gateway"):
        lines.append(f"Gateway={ipaddress.ip_address(network['gateway'])}")
    for route in network.get("routes") or ():
        destination, gateway = ipaddress.ip_network(route["to"]), ipaddress.ip_address(route["via"])
        lines += ["", "[Route]", f"Destination={destination}", f"Gateway={gateway}"]
    return "\n".join(lines) + "\n"
