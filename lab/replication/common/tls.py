"""TLS 1.3 with certificates on both sides, and who the other side is.

Python 3.11 cannot choose TLS 1.3 ciphers: see ``processor.py``.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

URI_PREFIX = "urn:recovery:"
PEER_PARTS = 2
CERTIFICATE, KERBEROS = "certificate", "kerberos"
PROOFS = (CERTIFICATE, KERBEROS)


class UnknownPeer(PermissionError):
    """The certificate names no component of the stack."""


@dataclass(frozen=True)
class Peer:
    """The component at the other end of a connection; ``proof`` is how it has shown that."""

    kind: str
    name: str
    proof: str = CERTIFICATE


def peer_of(certificate: Mapping[str, Any]) -> Peer:
    """Return the peer that ``SSLSocket.getpeercert()`` describes, from its SAN ``urn:recovery:<kind>:<name>``.

    Raises:
        UnknownPeer: there is no such name, or more than one.
    """
    names = [value for tag, value in certificate.get("subjectAltName", ()) if tag == "URI"]
    ours = [value.removeprefix(URI_PREFIX) for value in names if value.startswith(URI_PREFIX)]
    if len(ours) != 1:
        raise UnknownPeer(f"expected one {URI_PREFIX} name in the certificate, found {len(ours)}")
    parts = ours[0].split(":")
    if len(parts) != PEER_PARTS or not all(parts):
        raise UnknownPeer(f"malformed component name {ours[0]!r}")
    return Peer(*parts)


def registration_context(ca_file: Path) -> ssl.SSLContext:
    """Return a client context without a certificate of its own: all that a new component has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(ca_file)
    return context


def client_context(identity_dir: Path) -> ssl.SSLContext:
    """Return the context of a registered component; servers are verified, address included."""
    context = registration_context(identity_dir / "ca.pem")
    context.load_cert_chain(identity_dir / "machine.pem", identity_dir / "machine.key")
    return context


def server_context(identity_dir: Path, *, require_client: bool) -> ssl.SSLContext:
    """Return a server context; without ``require_client`` a certificate is verified only if there is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(identity_dir / "ca.pem")
    context.load_cert_chain(identity_dir / "machine.pem", identity_dir / "machine.key")
    context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    return context
