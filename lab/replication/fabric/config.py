"""The configuration file of a fabric, and how its hypervisor driver is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lab.hypervisors.protocols import Hypervisor
from lab.replication.common.config import BadConfig, Endpoint, read_settings

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
class Driver:
    """Which hypervisor to open; the rest is for libvirt only."""

    kind: Literal["libvirt", "memory"]
    uri: str = ""
    lab: str = ""
    store: Path = Path()
    acceleration: str = "tcg"


@dataclass(frozen=True)
class FabricConfig:
    """Everything a fabric is told by its installer.

    ``attach_targets`` are the existing machines that disks may be plugged into and out of (master targets, and
    protected machines at failback); ``power_targets`` those that may be switched. What the fabric made itself may
    always be used.
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


def open_driver(driver: Driver) -> Hypervisor:
    """Open the hypervisor driver.

    Raises:
        HypervisorError: the host does not answer.
    """
    if driver.kind == "libvirt":
        from lab.hypervisors.libvirt import connect

        return connect(driver.uri, driver.lab, driver.store, driver.acceleration)
    from lab.hypervisors.memory import MemoryHypervisor

    return MemoryHypervisor()


def _driver(value: Mapping[str, Any]) -> Driver:
    kind = value["kind"]
    if kind == "memory":
        return Driver("memory")
    if kind != "libvirt":
        raise ValueError(f"unknown driver {kind!r}; known are 'libvirt' and 'memory'")
    return Driver(
        "libvirt",
        str(value["uri"]),
        str(value["lab"]),
        Path(value["store"]),
        str(value.get("acceleration", "tcg")),
    )
