"""JSON over HTTPS for services that one kind of component calls: who calls, what was sent, and errors by a table."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from lab.replication.common.durable import JSON
from lab.replication.common.tls import Peer, peer_of

log = logging.getLogger(__name__)


class BadBody(ValueError):
    """What was sent is no JSON object."""


def certificate_of(request: web.Request) -> Mapping[str, Any]:
    """Return the verified certificate of who calls, nothing of who has none."""
    transport = request.transport
    return (transport.get_extra_info("peercert") if transport is not None else None) or {}


def caller_of(request: web.Request) -> Peer:
    """Return who calls. Raises UnknownPeer."""
    return peer_of(certificate_of(request))


async def body_of(request: web.Request) -> dict[str, Any]:
    """Return the object that was sent, an empty one when nothing was. Raises BadBody."""
    text = await request.text()
    try:
        value = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise BadBody(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadBody("the body is not a JSON object")
    return value


@dataclass(frozen=True)
class Answers:
    """The errors of one service: ``status`` says the HTTP status and the type of each, the first that fits counts.

    ``details`` says what a caller is told of an error beside its type and its message.
    """

    status: Mapping[type[Exception], tuple[int, str]]
    details: Callable[[Exception], JSON] = lambda _: {}

    @property
    def known(self) -> tuple[type[Exception], ...]:
        """The errors that have an answer."""
        return tuple(self.status)

    def failure(self, error: Exception) -> web.Response:
        """Return the answer for one of the known errors: ``{error: {type, message, ...}}``."""
        status, kind = next(answer for known, answer in self.status.items() if isinstance(error, known))
        message = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        log.warning("%s: %s", kind, message)
        return web.json_response({"error": {"type": kind, "message": message, **self.details(error)}}, status=status)

    async def threaded(self, work: Callable[[], JSON]) -> web.Response:
        """Do work that blocks in a thread, and answer with what it returns or with its error."""
        try:
            return web.json_response(await asyncio.to_thread(work))
        except self.known as error:
            return self.failure(error)
