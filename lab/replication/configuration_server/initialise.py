"""What ``init`` makes once: the authority, the server's own identity, and what operators and fabrics are given."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from lab.replication.common.durable import write_atomically
from lab.replication.configuration_server.ca import (
    CONFIGURATION_SERVER,
    CONSOLE,
    FABRIC,
    OPERATOR,
    VAULT,
    Authority,
    Holder,
    key_pem,
    load_authority,
    make_private,
    new_authority,
    save_authority,
)
from lab.replication.configuration_server.components import Registry
from lab.replication.configuration_server.config import ServerConfig
from lab.replication.configuration_server.database import Database


def initialise(config: ServerConfig) -> list[Path]:
    """Make what is missing and return the certificates that were issued now; a second call makes nothing.

    Raises:
        OSError: a directory cannot be written.
    """
    authority = _authority(config.ca_dir)
    with closing(Database(config.database)) as database:
        registry = Registry(database)
        return [
            certificate
            for certificate, key, holder in _wanted(config)
            if _issue(authority, registry, certificate, key, holder)
        ]


def _authority(directory: Path) -> Authority:
    if not (directory / "ca.pem").exists():
        save_authority(new_authority(directory.parent.name or "recovery"), directory)
    return load_authority(directory)


def _wanted(config: ServerConfig) -> Iterable[tuple[Path, Path, Holder]]:
    own, issued = config.identity_dir, config.issued_dir
    yield own / "machine.pem", own / "machine.key", Holder(CONFIGURATION_SERVER, config.name, config.addresses)
    for name in config.operators:
        # The usual case, one operator, has the plain file name.
        stem = OPERATOR if len(config.operators) == 1 else f"{OPERATOR}-{name}"
        yield issued / f"{stem}.pem", issued / f"{stem}.key", Holder(OPERATOR, name)
    # By hand, not by registration: the passphrase is known at the other site too, and must give nobody this power.
    yield issued / f"{CONSOLE}.pem", issued / f"{CONSOLE}.key", Holder(CONSOLE, config.name)
    for site, endpoint in config.fabrics.items():
        holder = Holder(FABRIC, site, (endpoint.address,))
        yield issued / f"{FABRIC}-{site}.pem", issued / f"{FABRIC}-{site}.key", holder
    if config.vault is not None:
        holder = Holder(VAULT, config.name, tuple({config.vault.address, *config.vault_addresses}))
        yield issued / f"{VAULT}.pem", issued / f"{VAULT}.key", holder


def _issue(authority: Authority, registry: Registry, certificate: Path, key_file: Path, holder: Holder) -> bool:
    make_private(certificate.parent)
    write_atomically(certificate.parent / "ca.pem", authority.pem, 0o644)
    if certificate.exists():
        return False
    key = ec.generate_private_key(ec.SECP256R1())
    issued = authority.issue(key.public_key(), holder)
    registry.record_certificate(holder, issued.serial)
    # The certificate comes last: where it is, the pair is complete.
    write_atomically(key_file, key_pem(key), 0o600)
    write_atomically(certificate, issued.pem, 0o644)
    return True
