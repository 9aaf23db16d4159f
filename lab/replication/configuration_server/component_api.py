"""The routes of components: registration, commands, results, events."""

from __future__ import annotations

import hashlib
import hmac
import logging
from dataclasses import dataclass, fields
from pathlib import Path

from aiohttp import web

from lab.replication.configuration_server.access import component_of, json_body
from lab.replication.configuration_server.ca import COMPONENT_KINDS, Authority, BadSigningRequest, Holder
from lab.replication.configuration_server.commands import CommandQueue
from lab.replication.configuration_server.components import Registry
from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import BadRequest, Forbidden
from lab.replication.configuration_server.events import EventLog
from lab.replication.configuration_server.parsing import Reader
from lab.replication.configuration_server.reports import Reports
from lab.replication.support.facts import SystemFacts

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 60.0
MOST_ADDRESSES = 16


@dataclass(frozen=True)
class ComponentApi:
    """Handlers of the calls that components make."""

    authority: Authority
    passphrase_file: Path
    database: Database
    registry: Registry
    commands: CommandQueue
    events: EventLog
    reports: Reports

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/v1/register", self.register),
            web.get("/v1/commands", self.next_command),
            web.post("/v1/commands/{id}/result", self.result),
            web.post("/v1/events", self.event),
        ]

    async def register(self, request: web.Request) -> web.Response:
        """Give a certificate to who knows the pairing passphrase; the only call without a certificate."""
        reader = Reader.of(await json_body(request), "registration")
        reader.only("passphrase", "kind", "name", "addresses", "csr", "version", "system")
        self._check_passphrase(reader)
        holder = _holder(reader)
        try:
            issued = self.authority.sign_request(reader.text("csr"), holder)
        except BadSigningRequest as error:
            raise BadRequest(f"registration.csr: {error}") from error
        with self.database.transaction():
            self.registry.register(holder, issued.serial, reader.text("version") if reader.has("version") else None)
            if reader.has("system"):
                self.registry.note_system(holder.component_id, _system(reader.inner("system")))
            self.events.add("registered", {"addresses": list(holder.addresses)}, component=holder.component_id)
        log.info("registered %s, certificate %s", holder.component_id, issued.serial)
        return web.json_response({"certificate": issued.pem.decode(), "component_id": holder.component_id})

    async def next_command(self, request: web.Request) -> web.Response:
        """Answer with the next command, or 204 when there is none in time."""
        peer = component_of(request)
        component = f"{peer.kind}-{peer.name}"
        self.registry.seen(component)
        busy = [word for word in request.query.get("busy", "").split(",") if word]
        command = await self.commands.next(component, wait_seconds(request), busy)
        return web.Response(status=204) if command is None else web.json_response(command)

    async def result(self, request: web.Request) -> web.Response:
        """Take the result of a command."""
        peer = component_of(request)
        value = await json_body(request)
        if not isinstance(value.get("ok"), bool):
            raise BadRequest("result.ok: true or false is expected")
        for key in ("value", "error"):
            if not isinstance(value.get(key) or {}, dict):
                raise BadRequest(f"result.{key}: an object is expected")
        component = f"{peer.kind}-{peer.name}"
        self.registry.seen(component)
        self.commands.finish(component, request.match_info["id"], value)
        return web.json_response({})

    async def event(self, request: web.Request) -> web.Response:
        """Take an event."""
        peer = component_of(request)
        self.registry.seen(f"{peer.kind}-{peer.name}")
        self.reports.take(peer.kind, peer.name, await json_body(request))
        return web.json_response({})

    def _check_passphrase(self, reader: Reader) -> None:
        given = reader.text("passphrase").strip().encode()
        expected = self.passphrase_file.read_bytes().strip()
        # Digests have one length, so the comparison tells nothing about that of the passphrase.
        if not hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected).digest()):
            raise Forbidden("wrong pairing passphrase")


def _system(reader: Reader) -> SystemFacts:
    names = tuple(field.name for field in fields(SystemFacts))
    reader.only(*names)
    return SystemFacts(**{name: reader.text(name) for name in names})


def wait_seconds(request: web.Request) -> float:
    """Return how long the caller wants to wait.

    Raises:
        BadRequest: ``wait`` is not a number of seconds.
    """
    try:
        seconds = float(request.query.get("wait", "0"))
    except ValueError as error:
        raise BadRequest("wait: a number of seconds is expected") from error
    if not 0 <= seconds <= LONGEST_WAIT_S:
        raise BadRequest(f"wait: 0 to {LONGEST_WAIT_S:.0f} seconds are possible")
    return seconds


def _holder(reader: Reader) -> Holder:
    kind = reader.text("kind")
    if kind not in COMPONENT_KINDS:
        raise BadRequest(f"registration.kind: one of {', '.join(COMPONENT_KINDS)} is expected, not {kind!r}")
    addresses = reader.value.get("addresses", [])
    if not isinstance(addresses, list) or len(addresses) > MOST_ADDRESSES:
        raise BadRequest(f"registration.addresses: a list of at most {MOST_ADDRESSES} IP addresses is expected")
    checked = tuple(Reader({"address": item}, "registration").address("address") for item in addresses)
    return Holder(kind, reader.name("name"), checked)
