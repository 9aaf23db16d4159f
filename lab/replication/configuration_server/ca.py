"""The certificate authority of the stack: one ECDSA P-256 key, and certificates that say who a component is."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.replication.common.durable import write_atomically
from lab.replication.common.tls import URI_PREFIX

CONFIGURATION_SERVER = "configuration-server"
OPERATOR = "operator"
CONSOLE = "console"
"""May do what an operator may, at the location of the configuration server only (seed L141)."""
FABRIC = "fabric"
VAULT = "vault"
MOBILITY = "mobility"
"""No server of the stack, but members of a group listen for each other (seed L67)."""
PROVIDER = "provider"
"""On a hypervisor host; receives from another one."""
COMPONENT_KINDS = (MOBILITY, "process-server", "master-target", PROVIDER)
SERVER_KINDS = ("process-server", "master-target", PROVIDER, FABRIC, VAULT, CONFIGURATION_SERVER)
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")
LIFETIME = dt.timedelta(days=825)
CLOCK_MARGIN = dt.timedelta(days=1)
"""Machines of a lab do not agree about the time."""


class BadSigningRequest(ValueError):
    """The request for a certificate is malformed, unsigned or uses a weak key."""


@dataclass(frozen=True)
class Holder:
    """Who a certificate is for."""

    kind: str
    name: str
    addresses: tuple[str, ...] = ()

    @property
    def component_id(self) -> str:
        """The common name."""
        return f"{self.kind}-{self.name}"

    @property
    def host_name(self) -> str:
        """The DNS name of a server."""
        return f"{self.kind}.{self.name}.recovery"


@dataclass(frozen=True)
class Issued:
    """A certificate in PEM form; ``serial`` is in hexadecimal."""

    pem: bytes
    serial: str


@dataclass(frozen=True)
class Authority:
    """The authority: issues certificates, remembers nothing."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate of the authority."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def sign_request(self, csr_pem: str, holder: Holder) -> Issued:
        """Issue a certificate for the key of a request; all names come from ``holder``, none from the request.

        Raises:
            BadSigningRequest: the request is malformed, badly signed, or its key is not ECDSA P-256.
        """
        try:
            request = x509.load_pem_x509_csr(csr_pem.encode())
        except (ValueError, TypeError) as error:
            raise BadSigningRequest(f"not a certificate request: {error}") from error
        key = request.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise BadSigningRequest("the key has to be ECDSA P-256")
        if not request.is_signature_valid:
            raise BadSigningRequest("the request is not signed by its own key")
        return self.issue(key, holder)

    def issue(self, key: ec.EllipticCurvePublicKey, holder: Holder) -> Issued:
        """Issue a certificate for ``key`` and ``holder``."""
        serial = x509.random_serial_number()
        now = dt.datetime.now(dt.timezone.utc)  # noqa: UP017 - one spelling for all supported Pythons
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(holder.component_id))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(serial)
            .not_valid_before(now - CLOCK_MARGIN)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_purposes(holder.kind)), critical=False)
            .add_extension(x509.SubjectAlternativeName(_names(holder)), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        certificate = builder.sign(self.key, hashes.SHA256())
        return Issued(certificate.public_bytes(serialization.Encoding.PEM), f"{serial:x}")


def new_authority(name: str) -> Authority:
    """Make a new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.timezone.utc)  # noqa: UP017 - one spelling for all supported Pythons
    subject = _name(f"recovery-ca-{name}")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_MARGIN)
        .not_valid_after(now + 4 * LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def save_authority(authority: Authority, directory: Path) -> None:
    """Write ``ca.key`` and then ``ca.pem``; where ``ca.pem`` is, the authority is complete."""
    make_private(directory)
    write_atomically(directory / "ca.key", key_pem(authority.key), 0o600)
    write_atomically(directory / "ca.pem", authority.pem, 0o644)


def load_authority(directory: Path) -> Authority:
    """Read the authority.

    Raises:
        OSError: it is not there; ``init`` makes it.
        ValueError: the files are damaged.
    """
    certificate = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
    key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{directory / 'ca.key'} is not an ECDSA key")  # noqa: TRY004 - the file is wrong, not a type
    return Authority(certificate, key)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key in PEM form."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def make_private(directory: Path) -> None:
    """Make a directory that only its owner can look into."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _names(holder: Holder) -> Sequence[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"{URI_PREFIX}{holder.kind}:{holder.name}")]
    if holder.kind in SERVER_KINDS:
        names.append(x509.DNSName(holder.host_name))
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in holder.addresses]
    return names


def _purposes(kind: str) -> list[x509.ObjectIdentifier]:
    if kind in (FABRIC, VAULT):
        return [ExtendedKeyUsageOID.SERVER_AUTH]
    client = [ExtendedKeyUsageOID.CLIENT_AUTH]
    return [*client, ExtendedKeyUsageOID.SERVER_AUTH] if kind in (*SERVER_KINDS, MOBILITY) else client


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
