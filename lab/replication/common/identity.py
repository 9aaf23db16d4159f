"""How a new component gets its key and its certificate.

The key is made here and never leaves the machine. The passphrase is read from a file and goes only into the body of
the registration: never into an argument list, a log line or an error message.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lab.replication.common.config import ServiceConfig
from lab.replication.common.durable import write_atomically
from lab.replication.common.link import Link
from lab.replication.common.tls import registration_context

OPENSSL_TIMEOUT_S = 120
REGISTER_TIMEOUT_S = 60
HTTP_OK = 200
CSR_CONFIG = "[req]\nprompt = no\ndistinguished_name = subject\n[subject]\nCN = {name}\n"


class RegistrationRefused(PermissionError):
    """The configuration server does not accept this component (wrong passphrase, or a name that is taken)."""


class KeyToolFailed(RuntimeError):
    """The ``openssl`` program could not make the key or the request."""


def ensure_identity(
    config: ServiceConfig, ca_file: Path, passphrase_file: Path, system: Mapping[str, str] | None = None
) -> bool:
    """Register this component unless it already has a certificate; return whether it was registered now.

    ``system``: the facts of its machine, for components whose machine has to be a supported one.

    Raises:
        RegistrationRefused: the configuration server says no.
        Unreachable: it does not answer.
        KeyToolFailed: no key or request could be made.
    """
    directory = config.identity_dir
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    authority = directory / "ca.pem"
    if not authority.exists() or authority.read_bytes() != ca_file.read_bytes():
        # Another authority's certificate is worth nothing here.
        (directory / "machine.pem").unlink(missing_ok=True)
        write_atomically(authority, ca_file.read_bytes(), 0o644)
    if (directory / "machine.pem").exists():
        return False
    _make_key(directory / "machine.key")
    request = _signing_request(directory, config.component_id)
    certificate = _register(config, request, passphrase_file.read_text().strip(), system)
    write_atomically(directory / "machine.pem", certificate.encode(), 0o644)
    return True


def _make_key(path: Path) -> None:
    if path.exists():
        return
    write_atomically(path, _openssl(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]), 0o600)


def _signing_request(directory: Path, name: str) -> str:
    settings = directory / "request.cnf"
    settings.write_text(CSR_CONFIG.format(name=name))
    try:
        return _openssl(["req", "-new", "-key", str(directory / "machine.key"), "-config", str(settings)]).decode()
    finally:
        settings.unlink()


def _openssl(arguments: list[str]) -> bytes:
    # The service's own OPENSSL_CONF knows ciphers only; the tool must not trip over it.
    environment = {key: value for key, value in os.environ.items() if key != "OPENSSL_CONF"}
    done = subprocess.run(
        ["openssl", *arguments], capture_output=True, timeout=OPENSSL_TIMEOUT_S, check=False, env=environment
    )
    if done.returncode:
        raise KeyToolFailed(f"openssl {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _register(config: ServiceConfig, request: str, passphrase: str, system: Mapping[str, str] | None) -> str:
    link = Link(
        config.configuration_server, registration_context(config.identity_dir / "ca.pem"), timeout=REGISTER_TIMEOUT_S
    )
    try:
        reply = link.call(
            "POST",
            "/v1/register",
            {
                "passphrase": passphrase,
                "kind": config.kind,
                "name": config.name,
                "addresses": list(config.addresses),
                "csr": request,
                **({"system": dict(system)} if system is not None else {}),
            },
        )
    finally:
        link.close()
    if reply.status != HTTP_OK or "certificate" not in reply.json:
        raise RegistrationRefused(f"{config.component_id} was not registered: HTTP {reply.status}")
    return str(reply.json["certificate"])
