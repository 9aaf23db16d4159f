"""How a machine is protected, as the configuration server knows it; ``settings_document`` reads it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lab.replication.configuration_server.errors import JobError

VMWARE = "vmware"


@dataclass(frozen=True)
class Server:
    """A process server or master target, and its address as seen by who sends data to it."""

    name: str
    address: str | None = None


@dataclass(frozen=True)
class ProtectedDisk:
    """A disk of the machine; ``serial`` is how the guest knows it, here and on the replica."""

    index: int
    name: str
    size: int
    serial: str


@dataclass(frozen=True)
class ChangeLog:
    """The disk on which the agent logs writes; never replicated, made anew for a replica."""

    size: int
    serial: str


@dataclass(frozen=True)
class Card:
    """A network card of a replica; without an address it is the management card, which asks DHCP."""

    network: str
    mac: str
    address: str | None
    prefix: int | None
    routes: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the card as agents and operators read it."""
        routes = [{"to": to, "via": via} for to, via in self.routes]
        return {**asdict(self), "routes": routes}


@dataclass(frozen=True)
class Failback:
    """The servers of the way back (seed L142); ``to`` is what the machine becomes there (seed L90)."""

    process_server: Server
    master_target: Server
    to: str = VMWARE
    fabric: str | None = None


@dataclass(frozen=True)
class SiteSettings:
    """A secondary site: who writes the replica, and the fabric that makes machines of it."""

    master_target: Server
    recovery_fabric: str


@dataclass(frozen=True)
class HostSettings:
    """A machine that is replicated from its host (seed L99, L167): by which host, and when the first copy may begin.

    ``guest`` is what it is called there, None: as here. ``start_at_ns`` is in nanoseconds of the hosts' clocks, 0 for
    at once. ``system`` is what the operator says runs in it, ``ID`` and ``VERSION_ID`` of os-release(5): nothing of
    ours is inside that could look. None: nobody said.
    """

    source: Server
    guest: str | None = None
    start_at_ns: int = 0
    system: tuple[str, str] | None = None


@dataclass(frozen=True)
class RecoveryHost:
    """A host of the secondary site that keeps the replica and runs it."""

    server: Server


@dataclass(frozen=True)
class PublicCard:
    """A public address on a network of Azure, which leads to the replica's first card with an address (seed L109)."""

    network: str
    address: str
    prefix: int


@dataclass(frozen=True)
class AzureSettings:
    """Azure: through which server added to the vault the machine is known, and what it is there.

    A public address of its replica is a card like any other, on a network of kind ``internet``. Of a machine that is
    replicated from its host nothing changes the network configuration: there it is ``public``, which Azure translates.
    """

    server: str
    source: str
    public: PublicCard | None = None


@dataclass(frozen=True)
class Settings:
    """Everything the configuration server knows about how to protect one machine."""

    policy: str
    carrier: Server | HostSettings
    target: SiteSettings | AzureSettings | RecoveryHost
    primary_fabric: str
    disks: tuple[ProtectedDisk, ...]
    cpus: int
    memory_mib: int
    replica_nics: tuple[Card, ...]
    test_nics: tuple[Card, ...]
    failback: Failback | None = None
    failback_nics: tuple[Card, ...] = ()
    """The cards of the new machine as which it comes back; without any it comes back as itself (seed L90)."""
    change_log: ChangeLog | None = None
    group: str | None = None
    push_install: dict[str, Any] | None = None
    vmware: str | None = None
    """The machine's name in the inventory of its VMware host; None: it is no VMware machine."""
    switched_by_owner: bool = False
    """It is a physical machine that no fabric can switch or plug disks into: whoever owns it cuts its power."""

    @property
    def process_server(self) -> Server:
        """The process server.

        Raises:
            JobError: the machine is replicated from its host, and there is none.
        """
        if isinstance(self.carrier, Server):
            return self.carrier
        raise JobError("no-process-server", "this machine is replicated from its host")

    @property
    def host(self) -> HostSettings | None:
        """The host from which the machine is replicated, None when its mobility service does it."""
        return self.carrier if isinstance(self.carrier, HostSettings) else None

    @property
    def recovery_host(self) -> Server | None:
        """The host that keeps the replica, None when it goes elsewhere."""
        return self.target.server if isinstance(self.target, RecoveryHost) else None

    @property
    def site(self) -> SiteSettings:
        """The secondary site.

        Raises:
            JobError: the machine is replicated to Azure.
        """
        if isinstance(self.target, SiteSettings):
            return self.target
        raise JobError("no-secondary-site", "this machine is replicated to Azure, not to a site")

    @property
    def azure(self) -> AzureSettings | None:
        """How the machine is replicated to Azure, None when it is not."""
        return self.target if isinstance(self.target, AzureSettings) else None

    @property
    def failback_fabric(self) -> str:
        """The fabric at which the machine comes back."""
        return (self.failback.fabric if self.failback else None) or self.primary_fabric
