"""The storage account of one Azurite: a name, a key that nobody sees, certificates of its own authority."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEY_BYTES = 64
VALID_DAYS = 30
NAME = "recoverylab"


@dataclass(frozen=True)
class Account:
    """A storage account; the key is never shown by ``repr``."""

    name: str
    key: str = field(repr=False)

    def connection_string(self, address: str, port: int) -> str:
        """Return what an SDK connects with; it holds the key."""
        parts = {
            "DefaultEndpointsProtocol": "https",
            "AccountName": self.name,
            "AccountKey": self.key,
            "BlobEndpoint": f"https://{address}:{port}/{self.name}",
        }
        return ";".join(f"{key}={value}" for key, value in parts.items())


@dataclass(frozen=True)
class Certificates:
    """Files of one service: its authority's certificate, its own, and its key."""

    ca: Path
    certificate: Path
    key: Path


def new_account() -> Account:
    """Return an account with a new random key."""
    return Account(NAME, base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())


def write_certificates(folder: Path, addresses: Sequence[str]) -> Certificates:
    """Make an authority for one server and its certificate for some IP addresses; the authority's key is not kept."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = Certificates(folder / "ca.pem", folder / "machine.pem", folder / "machine.key")
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _authority(authority_key)
    certificate = _certificate(authority, authority_key, key, addresses)
    _write(files.ca, authority.public_bytes(serialization.Encoding.PEM))
    _write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    _write(files.key, key.private_bytes(serialization.Encoding.PEM, *private))
    return files


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _builder(subject: str, issuer: str) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    # A name for each: whoever trusts several would else look for the wrong one.
    name = f"azurite authority {secrets.token_hex(4)}"
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    return (
        _builder(name, name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _certificate(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    addresses: Sequence[str],
) -> x509.Certificate:
    issuer = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address)) for address in addresses])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder("azurite", str(issuer))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
