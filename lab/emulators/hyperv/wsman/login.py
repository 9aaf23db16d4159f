"""Who is on a connection: Basic over TLS only, or Negotiate (NTLM, Kerberos) bound to the TLS channel."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import spnego
import spnego.channel_bindings
import spnego.exceptions
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

log = logging.getLogger(__name__)
ACCOUNT_FILE = "NTLM_USER_FILE"
"""pyspnego's acceptor reads accounts only from the file that this variable of the process names."""
_WEAK = {"md5", "sha1"}
_NTLM = b"NTLMSSP\0"
_CHANNEL_BOUND = 0x800
"""GSS_C_CHANNEL_BOUND_FLAG: without bindings of its own an initiator would be let in."""


class Refused(Exception):
    """This login does not work; ``challenge`` goes back with the 401, when the exchange is not over."""

    def __init__(self, challenge: str | None = None) -> None:
        super().__init__()
        self.challenge = challenge


@dataclass(frozen=True)
class Accounts:
    """The accounts of a host, by lower-case name. Passwords are in no message and no representation.

    With a ``keytab`` they are accounts of its realm too, and may log in with a ticket for the service of that file.
    """

    machine: str
    passwords: Mapping[str, str]
    keytab: Path | None = None

    def __repr__(self) -> str:
        return f"Accounts({self.machine!r}, {sorted(self.passwords)})"

    def write(self, file: Path) -> None:
        """Tell pyspnego, by a file that only this user can read."""
        file.touch(mode=0o600)
        file.chmod(0o600)
        lines = [f"{domain}:{user}:{word}\n" for user, word in self.passwords.items() for domain in ("", self.machine)]
        file.write_text("".join(lines), encoding="utf-8")
        os.environ[ACCOUNT_FILE] = str(file)

    def knows(self, user: str, password: str) -> bool:
        """Whether the password is right; takes the same time for an unknown user."""
        expected = self.passwords.get(user.casefold())
        same = hmac.compare_digest((expected or "\0").encode(), password.encode())
        return same and expected is not None


def bindings_of(certificate: Path) -> spnego.channel_bindings.GssChannelBindings:
    """Return the channel binding of a server's certificate (RFC 5929, tls-server-end-point)."""
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    algorithm = found.signature_hash_algorithm
    name = "sha256" if algorithm is None or algorithm.name in _WEAK else algorithm.name
    digest = hashlib.new(name, found.public_bytes(Encoding.DER)).digest()
    return spnego.channel_bindings.GssChannelBindings(application_data=b"tls-server-end-point:" + digest)


class Login:
    """The login of one connection; without bindings the connection is not protected by TLS."""

    def __init__(self, accounts: Accounts, bindings: spnego.channel_bindings.GssChannelBindings | None) -> None:
        self._accounts, self._bindings = accounts, bindings
        self.context: spnego.ContextProxy | None = None
        self.user: str | None = None

    @property
    def offers(self) -> list[str]:
        """What a client may choose from; Basic sends the password, so it needs TLS."""
        return ["Negotiate", 'Basic realm="WSMAN"'] if self._bindings is not None else ["Negotiate"]

    def step(self, header: str) -> str | None:
        """Take an Authorization header; return a last token for the client. Raises Refused."""
        self.user = None
        scheme, _, token = header.partition(" ")
        try:
            given = base64.b64decode(token, validate=True)
        except binascii.Error as error:
            raise Refused from error
        match scheme.casefold():
            case "basic":
                self._basic(given)
                return None
            case "negotiate" | "ntlm":
                if self._accounts.keytab is not None and self._bindings is not None and _NTLM not in given:
                    return self._ticket(given, self._accounts.keytab, self._bindings)
                return self._negotiate(given)
        raise Refused

    def _basic(self, given: bytes) -> None:
        user, _, password = _decoded(given).partition(":")
        plain = user.rpartition("\\")[2]
        if self._bindings is None or not self._accounts.knows(plain, password):
            raise Refused
        self.user = f"{self._accounts.machine}\\{plain}"

    def _ticket(self, given: bytes, keytab: Path, bindings: spnego.channel_bindings.GssChannelBindings) -> str | None:
        import gssapi
        from gssapi.raw import ChannelBindings

        bound = ChannelBindings(application_data=bindings.application_data)
        try:
            keys = gssapi.Credentials(usage="accept", store={"keytab": str(keytab)})
            context = gssapi.SecurityContext(creds=keys, usage="accept", channel_bindings=bound)
            out = context.step(given)
        except gssapi.exceptions.GSSError as error:
            log.info("a login failed: %s", error)
            raise Refused from error
        token = f"Negotiate {base64.b64encode(out).decode()}" if out else None
        if not context.complete:
            raise Refused(token)
        user, _, realm = str(context.initiator_name).partition("@")
        if user.casefold() not in self._accounts.passwords or not int(context.actual_flags) & _CHANNEL_BOUND:
            log.info("a login failed: %s@%s is no account, or its ticket is bound to nothing", user, realm)
            raise Refused
        self.user = f"{realm}\\{user}"
        return token

    def _negotiate(self, given: bytes) -> str | None:
        if self.context is None or self.context.complete:
            options = spnego.NegotiateOptions.use_negotiate
            self.context = spnego.server(protocol="negotiate", options=options, channel_bindings=self._bindings)
        try:
            out = self.context.step(given)
        except (spnego.exceptions.SpnegoError, ValueError, OSError) as error:
            log.info("a login failed: %s", type(error).__name__)
            self.context = None
            raise Refused from error
        token = f"Negotiate {base64.b64encode(out).decode()}" if out else None
        if not self.context.complete:
            raise Refused(token)
        principal = self.context.client_principal or ""
        plain = principal.rpartition("\\")[2]
        self.user = f"{self._accounts.machine}\\{plain}"
        return token


def _decoded(given: bytes) -> str:
    """Return a user and a password: clients write them in UTF-8, or in Latin-1 as requests does."""
    try:
        return given.decode()
    except UnicodeDecodeError:
        return given.decode("latin-1")
