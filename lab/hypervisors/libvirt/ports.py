"""Ports on 127.0.0.1 for management cards."""

from __future__ import annotations

import random
import socket
import xml.etree.ElementTree as ET
from itertools import islice
from typing import Any

import libvirt

from lab.hypervisors.libvirt.describe import forwards_of, ssh_port_of
from lab.hypervisors.protocols import HypervisorError

FIRST, LAST = 21000, 31999
TRIES = 200


def free_ports(connection: Any, count: int) -> list[int]:
    """Return ports that no machine of any lab was given and that nobody listens on.

    Raises:
        HypervisorError: there are not so many.
    """
    taken = {port for domain in connection.listAllDomains() for port in _ports_of(domain)}
    tried = random.sample(range(FIRST, LAST), TRIES)
    found = list(islice((port for port in tried if port not in taken and _free(port)), count))
    if len(found) < count:
        raise HypervisorError(f"no free port on 127.0.0.1 between {FIRST} and {LAST}")
    return found


def _ports_of(domain: Any) -> set[int]:
    """Return the ports of a machine of any lab; one that another lab removes at this moment has none."""
    try:
        document = ET.fromstring(domain.XMLDesc(0))  # noqa: S314 - from libvirt
    except libvirt.libvirtError:
        return set()
    port = ssh_port_of(document)
    return {*forwards_of(document).values(), *([port] if port is not None else [])}


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
