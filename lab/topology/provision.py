"""How a machine comes to its system, when it does not get it from its host or from virtual media."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lab.topology.part import Part
from lab.topology.secrets import FileSecret
from lab.topology.units import Name


class Existing(Part):
    """A machine that is there already and only lent: how root logs in to it, seen from this host.

    ``key`` refers to the file with the private key, and ``host_key`` is the only host key that is accepted, as a line
    "ssh-ed25519 AAAA...". ``address`` is where its SSH server answers; its cards, disks and their serial numbers are
    what the topology says of it.
    """

    kind: Literal["existing"]
    address: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]*$")
    port: int = Field(default=22, ge=1, le=65535)
    user: Literal["root"] = "root"
    key: FileSecret
    host_key: str = Field(pattern=r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/=]+$")


class NetworkBoot(Part):
    """A machine behind a BMC is installed over this network (PXE), not from virtual media; the lab alone answers there.

    The machine has a card with an address on it.
    """

    kind: Literal["network-boot"]
    network: Name


Provision = Annotated[Existing | NetworkBoot, Field(discriminator="kind")]
