"""Where a console may be: at the location of the configuration server, nowhere else (seed L141)."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from aiohttp import web

from lab.replication.configuration_server.access import kind_of
from lab.replication.configuration_server.ca import CONSOLE
from lab.replication.configuration_server.errors import ControlError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Middleware(Protocol):
    """Stands between a request and its handler."""

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Answer, or have the handler answer."""


class ConsoleElsewhere(ControlError):
    """A console calls from somewhere else than the site of the configuration server."""

    status = 403
    kind = "console-elsewhere"


def at_home(caller: str, own_addresses: Sequence[str], site_networks: Sequence[str]) -> bool:
    """Whether an address is this machine, or is in a network of its site only."""
    address = ipaddress.ip_address(caller)
    if address.is_loopback or str(address) in own_addresses:
        return True
    return any(address in ipaddress.ip_network(network) for network in site_networks)


def consoles_at_home(own_addresses: Sequence[str], site_networks: Sequence[str]) -> Middleware:
    """Return what refuses calls of consoles from elsewhere; others may call from everywhere."""

    @web.middleware
    async def refuse_elsewhere(request: web.Request, handler: Handler) -> web.StreamResponse:
        caller = request.remote
        if kind_of(request) == CONSOLE and (caller is None or not at_home(caller, own_addresses, site_networks)):
            raise ConsoleElsewhere(f"a console at {caller} is not at the location of the configuration server")
        return await handler(request)

    return refuse_elsewhere
