"""Machines: what they do in the replication stack, their disks and cards, and their replicas."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address
from typing import Literal, Self

from pydantic import Field, model_validator

from lab.topology.bmc import Bmc
from lab.topology.networks import Interface
from lab.topology.part import Part
from lab.topology.provision import Provision
from lab.topology.units import Name, Size


class Role(StrEnum):
    """What a machine does in the replication stack."""

    PROTECTED = "protected"
    CONFIGURATION_SERVER = "configuration-server"
    PROCESS_SERVER = "process-server"
    MASTER_TARGET = "master-target"
    VMM_SERVER = "vmm-server"
    HYPERVISOR_HOST = "hypervisor-host"
    STORAGE = "storage"
    CONSOLE = "console"
    STANDBY = "standby"
    KDC = "kdc"


class Purpose(StrEnum):
    """What a disk is for."""

    SYSTEM = "system"
    DATA = "data"
    CHANGE_LOG = "change-log"
    CACHE = "cache"
    RETENTION = "retention"


class Disk(Part):
    """A virtual disk; ``size`` is in bytes."""

    name: Name
    size: Size
    purpose: Purpose
    filesystem: Literal["ext4", "xfs"] | None = None
    mount: str | None = Field(default=None, pattern="^/")

    @model_validator(mode="after")
    def _mount_needs_filesystem(self) -> Self:
        if self.mount and not self.filesystem:
            raise ValueError("a disk with 'mount' needs 'filesystem'")
        return self


class Replica(Part):
    """The network cards of the replica after failover, and of its copy in a test failover.

    ``failback_interfaces``: of the new VMware machine as which a physical one comes back (seed L90); it takes the
    place of the machine that was, so it may have its addresses. ``public_address``: on the internet, by which Azure is
    reached; it leads to the first of ``interfaces`` (seed L109). It is for machines that are replicated from their
    host, which know nothing of it; others have a card on that network.
    """

    interfaces: tuple[Interface, ...] = Field(min_length=1)
    test_interfaces: tuple[Interface, ...] = ()
    failback_interfaces: tuple[Interface, ...] = ()
    public_address: IPv4Address | None = None


class Machine(Part):
    """A machine; ``memory`` is in bytes. The first disk is booted. ``host``: not that of its site, but this one.

    ``bmc``: it is a physical one, which is no machine of any host. ``provision``: how it comes to its system, when it
    does not get it from its host or from virtual media. One that is there already and only lent keeps its own;
    ``image`` says which that is.
    """

    site: Name
    host: Name | None = None
    roles: tuple[Role, ...] = ()
    image: Name
    cpus: int = Field(default=1, ge=1)
    memory: Size
    forwards_packets: bool = False
    disks: tuple[Disk, ...] = Field(min_length=1)
    interfaces: tuple[Interface, ...] = Field(min_length=1)
    replica: Replica | None = None
    bmc: Bmc | None = None
    provision: Provision | None = None
