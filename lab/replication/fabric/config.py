"""The configuration file of a fabric, and how its hypervisor driver is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lab.hypervisors.protocols import Hypervisor
from lab.replication.common.config import BadConfig, Endpoint, read_settings
from lab.replication.fabric.discovery import Source

if TYPE_CHECKING:
    from lab.hypervisors.esxi import EsxiHypervisor

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """The largest objects that may be made."""

    disk_bytes: int = 1 << 40
    cpus: int = 16
    memory_mib: int = 64 * 1024
    disks: int = 16
    nics: int = 8


@dataclass(frozen=True)
class EsxiLogin:
    """An ESXi host, its pinned certificate, and where the password is: in a file, or in the environment."""

    host: str
    port: int
    user: str
    certificate: Path
    password_file: Path | None
    password_variable: str
    datastore: str


@dataclass(frozen=True)
class Driver:
    """Which hypervisor to open; ``uri`` and ``acceleration`` are for libvirt, ``esxi`` for an ESXi host."""

    kind: Literal["libvirt", "esxi", "memory"]
    uri: str = ""
    lab: str = ""
    store: Path = Path()
    acceleration: str = "tcg"
    esxi: EsxiLogin | None = None


@dataclass(frozen=True)
class FabricConfig:
    """Everything a fabric is told by its installer.

    ``attach_targets`` are the existing machines that disks may be plugged into and out of (master targets, and
    protected machines at failback); ``power_targets`` those that may be switched. What the fabric made itself may
    always be used. ``discovery`` is the account, of the role "read-only", that follows the host's inventory.
    """

    name: str
    listen: Endpoint
    identity_dir: Path
    driver: Driver
    attach_targets: frozenset[str] = frozenset()
    power_targets: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)
    detach_s: float = 180
    shutdown_s: float = 120
    discovery: EsxiLogin | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FabricConfig:
        """Build the configuration from the file's content.

        Raises:
            BadConfig: a key is missing or has the wrong type.
        """
        try:
            return cls(
                name=str(value["name"]),
                listen=Endpoint.from_json(value["listen"]),
                identity_dir=Path(value["identity_dir"]),
                driver=_driver(value["driver"]),
                discovery=_esxi_login(value["discovery"]) if value.get("discovery") else None,
                attach_targets=frozenset(str(name) for name in value.get("attach_targets", ())),
                power_targets=frozenset(str(name) for name in value.get("power_targets", ())),
                limits=Limits(**{key: int(number) for key, number in value.get("limits", {}).items()}),
                detach_s=float(value.get("detach_s", cls.detach_s)),
                shutdown_s=float(value.get("shutdown_s", cls.shutdown_s)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadConfig(f"bad configuration of the fabric: {error!r}") from error


def load_fabric_config(path: Path) -> FabricConfig:
    """Read the configuration file.

    Raises:
        BadConfig: the file is not JSON, or a key is missing or has the wrong type.
        OSError: it cannot be read.
    """
    return FabricConfig.from_json(read_settings(path))


def open_discovery(config: FabricConfig) -> Source | None:
    """Return how the inventory is followed, or None for a host that is none of VMware's."""
    login, driver = config.discovery, config.driver
    if login is None:
        return None
    return lambda: _open_esxi(driver, login)


def open_driver(driver: Driver) -> Hypervisor:
    """Open the hypervisor driver.

    Raises:
        HypervisorError: the host does not answer.
    """
    if driver.kind == "libvirt":
        from lab.hypervisors.libvirt import connect

        return connect(driver.uri, driver.lab, driver.store, driver.acceleration)
    if driver.kind == "esxi" and driver.esxi is not None:
        return _open_esxi(driver, driver.esxi)
    from lab.hypervisors.memory import MemoryHypervisor

    return MemoryHypervisor()


def _driver(value: Mapping[str, Any]) -> Driver:
    kind = value["kind"]
    if kind == "memory":
        return Driver("memory")
    if kind == "esxi":
        return Driver("esxi", lab=str(value["lab"]), store=Path(value["store"]), esxi=_esxi_login(value["esxi"]))
    if kind != "libvirt":
        raise ValueError(f"unknown driver {kind!r}; known are 'libvirt', 'esxi' and 'memory'")
    return Driver(
        "libvirt",
        str(value["uri"]),
        str(value["lab"]),
        Path(value["store"]),
        str(value.get("acceleration", "tcg")),
    )


def _esxi_login(value: Mapping[str, Any]) -> EsxiLogin:
    file = value.get("password_file")
    return EsxiLogin(
        host=str(value["host"]),
        port=int(value["port"]),
        user=str(value["user"]),
        certificate=Path(value["certificate"]),
        password_file=Path(file) if file else None,
        password_variable=str(value.get("password_variable", "")),
        datastore=str(value.get("datastore", "")),
    )


def _open_esxi(driver: Driver, login: EsxiLogin) -> EsxiHypervisor:
    from lab.hypervisors.esxi import Placement, Target, Trust, connect

    if login.password_file is not None:
        password = login.password_file.read_text(encoding="utf-8").strip()
    else:
        password = os.environ.get(login.password_variable, "")
    if not password:
        raise BadConfig(f"bad configuration of the fabric: no password for {login.user} of {login.host}")
    target = Target(login.host, login.port, login.user, password, Trust(login.certificate, pinned=True))
    return connect(target, driver.lab, driver.store, Placement(datastore=login.datastore))
