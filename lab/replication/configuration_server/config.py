"""The configuration file of the configuration server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from lab.replication.common.config import BadConfig, Endpoint, read_settings

SCRIPTS_DIR = Path("/usr/local/lib/recovery/scripts")
"""Scripts of recovery plans; who runs them cannot look into the server's own folders."""
SCRIPT_USER = "nobody"


@dataclass(frozen=True)
class Deadlines:
    """How long what may take, in seconds. Guests without acceleration are slow, so these are generous."""

    delivery: float = 60
    """A component has to take a command in this time."""
    boot: float = 900
    """The agent of a machine that has just been started has to take a command in this time (domain 2.4)."""
    command: float = 180
    push_install: float = 1800
    drain: float = 900
    roll: float = 900
    shutdown: float = 180
    fabric: float = 600
    last_point: float = 15
    """What was drained has to be announced as a recovery point in this time."""
    silence: float = 90
    """A component that was not heard of for longer is unhealthy."""
    watch: float = 5
    """How often the health of all machines is looked at; an alert is late by this at most."""


@dataclass(frozen=True)
class ServerConfig:
    """Everything the configuration server is told by its installer."""

    name: str
    listen: Endpoint
    addresses: tuple[str, ...]
    identity_dir: Path
    ca_dir: Path
    issued_dir: Path
    database: Path
    passphrase_file: Path
    fabrics: Mapping[str, Endpoint]
    operators: tuple[str, ...]
    deadlines: Deadlines
    scripts_dir: Path = SCRIPTS_DIR
    script_user: str = SCRIPT_USER
    vault: Endpoint | None = None
    """Where the vault is, when machines are replicated to Azure; its certificate is for ``vault_addresses`` too."""
    vault_addresses: tuple[str, ...] = ()
    site_networks: tuple[str, ...] = ()
    """Networks such as 10.20.0.0/24 that only machines of this server's site are on: a console may be there."""
    replica_disks: Mapping[str, int] = field(default_factory=dict)
    """The most replica disks of master targets, by name; others have the default."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ServerConfig:
        """Build the configuration from the file's content.

        Raises:
            BadConfig: a key is missing or has the wrong type.
        """
        try:
            return cls(
                name=str(value["name"]),
                listen=Endpoint.from_json(value["listen"]),
                addresses=tuple(str(address) for address in value["addresses"]),
                identity_dir=Path(value["identity_dir"]),
                ca_dir=Path(value["ca_dir"]),
                issued_dir=Path(value["issued_dir"]),
                database=Path(value["database"]),
                passphrase_file=Path(value["passphrase_file"]),
                fabrics={str(site): Endpoint.from_json(item) for site, item in value.get("fabrics", {}).items()},
                operators=tuple(str(name) for name in value.get("operators", ["operator"])),
                deadlines=_deadlines(value.get("deadlines", {})),
                scripts_dir=Path(value.get("scripts_dir", SCRIPTS_DIR)),
                script_user=str(value.get("script_user", SCRIPT_USER)),
                vault=Endpoint.from_json(value["vault"]) if value.get("vault") else None,
                vault_addresses=tuple(str(address) for address in value.get("vault_addresses", ())),
                site_networks=tuple(str(ip_network(network)) for network in value.get("site_networks", ())),
                replica_disks={str(name): int(most) for name, most in value.get("replica_disks", {}).items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadConfig(f"bad configuration of the configuration server: {error!r}") from error


def load_server_config(path: Path) -> ServerConfig:
    """Read the configuration file.

    Raises:
        BadConfig: the file is not JSON, or a key is missing or has the wrong type.
        OSError: it cannot be read.
    """
    return ServerConfig.from_json(read_settings(path))


def _deadlines(value: Mapping[str, Any]) -> Deadlines:
    known = {field.name for field in fields(Deadlines)}
    unknown = sorted(set(value) - known)
    if unknown:
        raise ValueError(f"unknown deadlines {unknown}; known are {sorted(known)}")
    return Deadlines(**{name: float(seconds) for name, seconds in value.items()})
