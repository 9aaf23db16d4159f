"""The configuration file of a vault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab.hypervisors.protocols import CloudHypervisor
from lab.hypervisors.public import PublicAddresses, public_addresses
from lab.replication.common.config import BadConfig, Endpoint, read_settings
from lab.replication.vault.azure_storage import AzureStorage

SETTLE_S = 30.0
"""Azurite saves every five seconds; Azure keeps what it acknowledges at once."""
ACCESS_S = 24 * 3600.0


@dataclass(frozen=True)
class StorageAccount:
    """The account: ``connection_string_file`` holds its key, ``ca_file`` verifies it (None: the system's).

    ``public_url`` is where process servers find it, when that is not what the connection string says.
    """

    connection_string_file: Path
    ca_file: Path | None
    public_url: str | None


@dataclass(frozen=True)
class Region:
    """The hypervisor on which machines in Azure run.

    ``networks`` are those that were set up there before (seed L96), None when nobody says which.
    """

    kind: Literal["libvirt", "memory"]
    uri: str = ""
    lab: str = ""
    store: Path = Path()
    acceleration: str = "tcg"
    networks: frozenset[str] | None = None


@dataclass(frozen=True)
class VaultConfig:
    """Everything a vault is told by its installer; times in seconds. QEMU has to be able to enter ``exports_dir``."""

    name: str
    listen: Endpoint
    identity_dir: Path
    state_dir: Path
    exports_dir: Path
    storage: StorageAccount
    region: Region
    settle_s: float = SETTLE_S
    access_s: float = ACCESS_S

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> VaultConfig:
        """Build the configuration from the file's content.

        Raises:
            BadConfig: a key is missing or has the wrong type.
        """
        try:
            return cls(
                name=str(value["name"]),
                listen=Endpoint.from_json(value["listen"]),
                identity_dir=Path(value["identity_dir"]),
                state_dir=Path(value["state_dir"]),
                exports_dir=Path(value.get("exports_dir") or Path(value["state_dir"]) / "exports"),
                storage=_storage(value["storage"]),
                region=_region(value["region"]),
                settle_s=float(value.get("settle_s", SETTLE_S)),
                access_s=float(value.get("access_s", ACCESS_S)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadConfig(f"bad configuration of the vault: {error!r}") from error


def load_vault_config(path: Path) -> VaultConfig:
    """Read the configuration file.

    Raises:
        BadConfig: the file is not JSON, or a key is missing or has the wrong type.
        OSError: it cannot be read.
    """
    return VaultConfig.from_json(read_settings(path))


def open_storage(account: StorageAccount) -> AzureStorage:
    """Open the account. Raises OSError, ValueError for a connection string that is none."""
    secret = account.connection_string_file.read_text().strip()
    return AzureStorage(secret, account.ca_file, account.public_url)


def open_region(region: Region) -> CloudHypervisor:
    """Open the hypervisor. Raises HypervisorError."""
    if region.kind == "libvirt":
        from lab.hypervisors.libvirt import connect

        return connect(region.uri, region.lab, region.store, region.acceleration)
    from lab.hypervisors.memory import MemoryHypervisor

    return MemoryHypervisor()


def public_addresses_of(region: Region) -> PublicAddresses | None:
    """Return how machines of a region get public addresses, None when it has none."""
    return public_addresses(region.uri, region.lab, region.store) if region.kind == "libvirt" else None


def _storage(value: Mapping[str, Any]) -> StorageAccount:
    ca_file, public = value.get("ca_file"), value.get("public_url")
    return StorageAccount(
        Path(value["connection_string_file"]),
        None if ca_file is None else Path(ca_file),
        None if public is None else str(public),
    )


def _region(value: Mapping[str, Any]) -> Region:
    networks = frozenset(str(name) for name in value["networks"]) if value.get("networks") is not None else None
    if value["kind"] == "memory":
        return Region("memory", networks=networks)
    if value["kind"] != "libvirt":
        raise ValueError(f"unknown region {value['kind']!r}; known are 'libvirt' and 'memory'")
    acceleration = str(value.get("acceleration", "tcg"))
    return Region("libvirt", str(value["uri"]), str(value["lab"]), Path(value["store"]), acceleration, networks)
