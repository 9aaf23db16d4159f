"""Networks, and the cards that machines have on them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

from pydantic import Field

from lab.topology.part import Part
from lab.topology.units import Name


class ManagementNetwork(Part):
    """How the lab reaches machines by SSH; machines do not see each other here."""

    kind: Literal["management"]


class SwitchNetwork(Part):
    """A switch between machines. ``isolated``: test failover lands here, nothing else is connected to it.

    ``internet``, ``expressroute`` and ``vpn`` are switches that lead to Azure (seed L68): the public endpoints on the
    internet, public peering, or a site-to-site VPN, over which replication to Azure is not supported. ``uplink`` is a
    network interface of this host that the lab joins to the switch while it is up: the way to machines that are only
    lent.
    """

    kind: Literal["switch", "internet", "expressroute", "vpn"]
    subnet: IPv4Network
    isolated: bool = False
    uplink: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$")


Network = Annotated[ManagementNetwork | SwitchNetwork, Field(discriminator="kind")]


class Route(Part):
    """A static route."""

    to: IPv4Network
    via: IPv4Address


class Interface(Part):
    """A network card. ``host_access`` (management only): the machine may call services of the host."""

    network: Name
    address: IPv4Address | None = None
    routes: tuple[Route, ...] = ()
    host_access: bool = False
