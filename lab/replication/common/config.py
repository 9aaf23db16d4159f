"""The configuration file of a service: ``/etc/recovery/<kind>.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.replication.common.durable import JSON


class BadConfig(ValueError):
    """The configuration file does not say what the service has to know."""


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens: an IP address and a TCP port."""

    address: str
    port: int

    @classmethod
    def from_json(cls, value: JSON) -> Endpoint:
        """Read ``{address, port}``; other keys are ignored."""
        return cls(str(value["address"]), int(value["port"]))

    def to_json(self) -> JSON:
        """Return ``{address, port}``."""
        return {"address": self.address, "port": self.port}


@dataclass(frozen=True)
class ServiceConfig:
    """What every service is told; ``settings`` is the whole file, for what only one kind needs."""

    kind: str
    name: str
    configuration_server: Endpoint
    identity_dir: Path
    state_dir: Path
    addresses: tuple[str, ...]
    data_port: int | None
    settings: JSON

    @property
    def component_id(self) -> str:
        """The name of this component at the configuration server."""
        return f"{self.kind}-{self.name}"

    @classmethod
    def from_json(cls, value: JSON) -> ServiceConfig:
        """Build the configuration from the file's content.

        Raises:
            BadConfig: a key is missing or has the wrong type.
        """
        try:
            return cls(
                kind=str(value["kind"]),
                name=str(value["name"]),
                configuration_server=Endpoint.from_json(value["configuration_server"]),
                identity_dir=Path(value["identity_dir"]),
                state_dir=Path(value["state_dir"]),
                addresses=tuple(str(address) for address in value["addresses"]),
                data_port=int(value["data_port"]) if value.get("data_port") else None,
                settings=value,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadConfig(f"bad service configuration: {error!r}") from error


def load_config(path: Path) -> ServiceConfig:
    """Read a configuration file.

    Raises:
        BadConfig: the file is not JSON, or a key is missing or has the wrong type.
        OSError: it cannot be read.
    """
    return ServiceConfig.from_json(read_settings(path))


def read_settings(path: Path) -> Any:
    """Return the JSON in a configuration file; whoever asked checks what it is.

    Raises:
        BadConfig: the file is not JSON.
        OSError: it cannot be read.
    """
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise BadConfig(f"{path}:{error.lineno}: {error.msg}") from error
