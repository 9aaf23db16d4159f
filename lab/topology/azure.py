"""Azure as the machines of a topology see it."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Literal

from pydantic import Field

from lab.topology.part import Part
from lab.topology.units import Name


class Azure(Part):
    """Azure as the machines see it: over which network they reach it, and the addresses of its endpoints there.

    Replica machines run on ``host``. Without a connection string in the environment variable that
    ``connection_string`` names, the storage is Azurite, and the certificate says so.
    """

    host: Name
    route: Name
    vault_address: IPv4Address
    storage_address: IPv4Address
    source: Literal["vmware", "physical", "hyper-v"]
    connection_string: str | None = Field(default=None, pattern="^[A-Z][A-Z0-9_]*$")
