"""Kerberos between hosts (seed L167): a host proves by a ticket who it is. TLS stays what it is.

The certificate of the host that is called is verified as ever; the caller shows none. It sends a token of GSSAPI
(RFC 4121) for the service ``host/NAME`` of the host that this certificate names, and the answer proves that the other
side has the key of that service.

What stops a relay: the token is bound (RFC 5056) to the client's Finished message, a keyed digest of the whole
handshake. Each end has it by itself, and no other TLS connection has the same, not even one to the same host. Python
3.11 has no exporter (RFC 9266); it calls the message "tls-unique", a name that TLS 1.3 does not know, so it is bound
under a name of ours. An acceptor of MIT Kerberos takes a token without any binding, and only says so in a flag.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.replication.common.config import ServiceConfig
from lab.replication.common.control import CommandFailed
from lab.replication.common.introduction import PATH, Introduced, NotIntroduced
from lab.replication.common.tls import KERBEROS, PROOFS, Peer, UnknownPeer, peer_of

SERVICE = "host"
KIND = "provider"
BOUND_TO = b"recovery-tls13-client-finished:"
CHANNEL_BOUND = 0x800
"""GSS_C_CHANNEL_BOUND_FLAG, which older bindings have no name for."""


@dataclass(frozen=True)
class Realm:
    """What a host knows of Kerberos: the realm, its keys, its own name, and the hosts that it deals with."""

    realm: str
    keytab: Path
    host: str
    peers: frozenset[str]

    @classmethod
    def of(cls, config: ServiceConfig) -> Realm | None:
        """Read the configuration's ``kerberos``, ``{realm, keytab, peers}``; None: certificates are all it knows."""
        value = config.settings.get("kerberos")
        if value is None:
            return None
        peers = frozenset(str(name) for name in value["peers"])
        return cls(str(value["realm"]), Path(value["keytab"]), config.name, peers)

    def principal(self, host: str) -> str:
        """Return the principal of a host."""
        return f"{SERVICE}/{host}@{self.realm}"

    def host_of(self, principal: str) -> str:
        """Return the host that a principal is. Raises UnknownPeer: it is none that this host deals with."""
        for host in self.peers:
            if principal == self.principal(host):
                return host
        raise UnknownPeer(f"{principal} is no host that {self.host} knows")


def require_proof(proof: str, realm: Realm | None) -> None:
    """Refuse what this host cannot do. Raises CommandFailed."""
    if proof not in PROOFS:
        raise CommandFailed("not-supported", f"authentication: one of {', '.join(PROOFS)} is expected, not {proof!r}")
    if proof == KERBEROS and realm is None:
        raise CommandFailed("no-kerberos", "this host belongs to no Kerberos realm")


@dataclass(frozen=True)
class TicketReader:
    """Recognises hosts by their tickets. Keys are read each time, so new ones count at once."""

    realm: Realm

    def receive(self, connection: ssl.SSLSocket, token: bytes) -> Introduced:
        """Return which host has sent ``token``. Raises UnknownPeer."""
        import gssapi

        own, store = _name(self.realm.principal(self.realm.host)), {"keytab": str(self.realm.keytab)}
        with _refused(UnknownPeer):
            keys = gssapi.Credentials(name=own, usage="accept", store=store)
            context = gssapi.SecurityContext(creds=keys, usage="accept", channel_bindings=_binding(connection))
            answer = context.step(token)
            if answer is None or not context.complete:
                raise UnknownPeer("the ticket is one half of a conversation that hosts do not have")
            bound, principal, seconds = int(context.actual_flags), str(context.initiator_name), context.lifetime
        if not bound & CHANNEL_BOUND:
            raise UnknownPeer(f"the ticket of {principal} is not bound to this connection")
        peer = Peer(KIND, self.realm.host_of(principal), KERBEROS)
        return Introduced(peer, time.monotonic() + seconds, answer)


@dataclass(frozen=True)
class TicketHolder:
    """Makes this host known by a ticket. Each connection has a new one: keys that were taken away count at once."""

    realm: Realm

    def introduce(self, connection: http.client.HTTPSConnection) -> None:
        """Make this host known to the one that the certificate names.

        Raises:
            NotIntroduced: there is no ticket, or the other side does not take it.
            OSError, HTTPException: the connection broke.
        """
        receiver = self._receiver(connection.sock)
        context, token = self._ticket(receiver, connection.sock)
        connection.request("POST", PATH, token)
        response = connection.getresponse()
        value = _json(response.read())
        if response.status != http.client.OK:
            reason = (value.get("error") or {}).get("message") or f"HTTP {response.status}"
            raise NotIntroduced(f"host {receiver} does not take the ticket: {reason}")
        with _refused(NotIntroduced):
            context.step(base64.b64decode(str(value.get("token", ""))))
        if not context.complete:
            raise NotIntroduced(f"host {receiver} did not prove who it is")

    def _receiver(self, connection: ssl.SSLSocket) -> str:
        try:
            peer = peer_of(connection.getpeercert() or {})
        except UnknownPeer as error:
            raise NotIntroduced(str(error)) from error
        if peer.kind != KIND or peer.name not in self.realm.peers:
            raise NotIntroduced(f"{peer.kind} {peer.name} is no host that {self.realm.host} knows")
        return peer.name

    def _ticket(self, receiver: str, connection: ssl.SSLSocket) -> tuple[Any, bytes]:
        import gssapi

        if not self.realm.keytab.is_file():
            # The library would complain about a cache of tickets, of which nobody has heard.
            raise NotIntroduced(f"there are no keys for a ticket: {self.realm.keytab} is missing")
        own = _name(self.realm.principal(self.realm.host))
        with _refused(NotIntroduced), tempfile.TemporaryDirectory(prefix="ticket-") as folder:
            store = {"client_keytab": str(self.realm.keytab), "ccache": f"FILE:{folder}/ccache"}
            context = gssapi.SecurityContext(
                name=_name(self.realm.principal(receiver)),
                creds=gssapi.Credentials(name=own, usage="initiate", store=store),
                usage="initiate",
                mech=gssapi.MechType.kerberos,
                flags=gssapi.RequirementFlag.mutual_authentication,
                channel_bindings=_binding(connection),
            )
            return context, bytes(context.step() or b"")


def _binding(connection: ssl.SSLSocket) -> Any:
    from gssapi.raw import ChannelBindings

    finished = connection.get_channel_binding("tls-unique")
    if not finished:
        raise NotIntroduced("this connection has nothing that a ticket could be bound to")
    return ChannelBindings(application_data=BOUND_TO + finished)


def _name(principal: str) -> Any:
    import gssapi

    return gssapi.Name(principal, gssapi.NameType.kerberos_principal)


@contextmanager
def _refused(kind: type[NotIntroduced | UnknownPeer]) -> Iterator[None]:
    import gssapi

    try:
        yield
    except gssapi.exceptions.GSSError as error:
        raise kind(f"Kerberos: {error}") from error


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
