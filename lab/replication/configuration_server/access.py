"""Who may call what: the kind in the verified client certificate decides (V2A-PORT-443-MGMT)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from lab.replication.common.answers import BadBody, body_of, caller_of, certificate_of
from lab.replication.common.tls import Peer, UnknownPeer
from lab.replication.configuration_server.ca import COMPONENT_KINDS, CONSOLE, OPERATOR
from lab.replication.configuration_server.errors import BadRequest, ControlError, Forbidden

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def component_of(request: web.Request) -> Peer:
    """Return the component that calls.

    Raises:
        Forbidden: there is no certificate, or not one of a component.
    """
    return _peer(request, COMPONENT_KINDS)


def operator_of(request: web.Request) -> Peer:
    """Return the operator that calls, in person or by the console.

    Raises:
        Forbidden: there is no certificate, or not one of an operator.
    """
    return _peer(request, (OPERATOR, CONSOLE))


def kind_of(request: web.Request) -> str | None:
    """Return the kind in the caller's certificate, None when there is none of this stack."""
    try:
        return caller_of(request).kind
    except UnknownPeer:
        return None


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the body; an empty one is an empty object.

    Raises:
        BadRequest: it is not a JSON object.
    """
    try:
        return await body_of(request)
    except BadBody as error:
        raise BadRequest(str(error)) from error


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn typed errors into answers ``{error: {type, message, ...}}``."""
    try:
        return await handler(request)
    except ControlError as error:
        log.warning("%s %s: %s: %s", request.method, request.path, error.kind, error)
        return web.json_response({"error": error.to_json()}, status=error.status)
    except web.HTTPException as error:
        body = {"error": {"type": error.reason.lower().replace(" ", "-"), "message": error.text or error.reason}}
        return web.json_response(body, status=error.status)


def _peer(request: web.Request, kinds: tuple[str, ...]) -> Peer:
    if not certificate_of(request):
        raise Forbidden("a client certificate is needed")
    try:
        peer = caller_of(request)
    except UnknownPeer as error:
        raise Forbidden(str(error)) from error
    if peer.kind not in kinds:
        raise Forbidden(f"{peer.kind} {peer.name} may not call this")
    return peer
