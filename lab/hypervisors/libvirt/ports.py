"""Ports on 127.0.0.1 for management cards."""

from __future__ import annotations

import random
import socket
import xml.etree.ElementTree as ET
from typing import Any

import libvirt

from lab.hypervisors.libvirt.describe import ssh_port_of
from lab.hypervisors.protocols import HypervisorError

FIRST, LAST = 21000, 31999
TRIES = 200


def free_port(connection: Any) -> int:
    """Return a port that no machine of any lab was given and that nobody listens on.

    Raises:
        HypervisorError: none found.
    """
    taken = {port for domain in connection.listAllDomains() if (port := _port_of(domain))}
    for port in random.sample(range(FIRST, LAST), TRIES):
        if port not in taken and _free(port):
            return port
    raise HypervisorError(f"no free port on 127.0.0.1 between {FIRST} and {LAST}")


def _port_of(domain: Any) -> int | None:
    """Return the port of a machine of any lab; one that another lab removes at this moment has none."""
    try:
        return ssh_port_of(ET.fromstring(domain.XMLDesc(0)))  # noqa: S314 - from libvirt
    except libvirt.libvirtError:
        return None


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
