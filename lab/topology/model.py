"""What a topology file may say, as types. Passive: what there is and where, never how it is made."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, PrivateAttr, Tag, model_validator

from lab.errors import BadInput
from lab.topology.part import Part
from lab.topology.secrets import FileSecret, GeneratedSecret, Secret
from lab.topology.stack import StackSettings
from lab.topology.units import Name, Size, Subject


class Scenario(StrEnum):
    """The ways of replication in the specification; the last letter is the target."""

    V2A = "V2A"
    P2A = "P2A"
    H2A = "H2A"
    H2A_VMM = "H2A-VMM"
    V2S = "V2S"
    P2S = "P2S"
    H2S = "H2S"

    @property
    def to_secondary_site(self) -> bool:
        """Whether the target is a second site of one's own and not Azure."""
        return self.value.endswith("S")

    @property
    def over_configuration_server(self) -> bool:
        """Whether a configuration server replicates to Azure (VMware and physical machines)."""
        return self in (Scenario.V2A, Scenario.P2A)


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


class Purpose(StrEnum):
    """What a disk is for."""

    SYSTEM = "system"
    DATA = "data"
    CHANGE_LOG = "change-log"
    CACHE = "cache"
    RETENTION = "retention"


class StandIn(Part):
    """Something that takes a real thing's place; every certificate names it."""

    what: str
    stands_in_for: str
    machines: tuple[Name, ...] = ()


class LibvirtHost(Part):
    """A host that libvirt manages."""

    kind: Literal["libvirt"]
    uri: str

    @property
    def where(self) -> str:
        """Where it is, in a word for people."""
        return self.uri


class EsxiHost(Part):
    """An ESXi host or vCenter: a real one (``endpoint``), or an emulated one that the lab starts and ends.

    ``certificate`` is a PEM file with the real host's own certificate, which is pinned; a relative path starts at the
    topology file. The password is in the environment, under the name that ``password_variable`` says. ``vcenter``
    ``reader`` is an account of the role "read-only" for discovery; an emulated host has one of its own. ``vcenter``
    makes the emulated one a vCenter with one host; a real one is asked what it is.
    """

    kind: Literal["esxi"]
    emulated: bool = False
    vcenter: bool = False
    endpoint: str | None = Field(default=None, pattern=r"^https://[^/@]+$")
    certificate: Path | None = None
    user: str = "root"
    password_variable: str = Field(default="ESXI_PASSWORD", pattern="^[A-Z_][A-Z0-9_]*$")
    datastore: str = ""
    reader: str = ""
    reader_password_variable: str = Field(default="ESXI_READER_PASSWORD", pattern="^[A-Z_][A-Z0-9_]*$")

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.emulated == (self.endpoint is not None):
            raise ValueError("an esxi host has either 'emulated: true' or an 'endpoint'")
        if self.endpoint is not None and self.vcenter:
            raise ValueError("'vcenter' is for an emulated esxi host: a real one is asked what it is")
        if self.endpoint is not None and self.certificate is None:
            raise ValueError("an esxi host with 'endpoint' needs 'certificate', the PEM file of the host's certificate")
        return self

    @property
    def where(self) -> str:
        """Where it is, in a word for people."""
        return self.endpoint or ("vcenter (emulated)" if self.vcenter else "esxi (emulated)")


class HypervHost(Part):
    """A Hyper-V host: a real one (``endpoint``), or an emulated one that the lab starts and ends.

    ``certificate`` is a PEM file with the real host's own certificate, which is pinned, and ``exchange`` the folder at
    which its folder ``recovery-lab/exchange`` of drive C is mounted here; relative paths start at the topology file.
    ``password`` is a reference. ``vmm``: a VMM server answers at the same place. ``uri`` is the libvirt that has the
    machines of an emulated host.
    """

    kind: Literal["hyperv"]
    emulated: bool = False
    endpoint: str | None = Field(default=None, pattern=r"^https://[^/@]+$")
    certificate: Path | None = None
    exchange: Path | None = None
    user: str = "Administrator"
    password: Secret | None = None
    login: Literal["ntlm", "kerberos", "basic"] = "ntlm"
    vmm: bool = False
    uri: str = "qemu:///system"

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.emulated == (self.endpoint is not None):
            raise ValueError("a hyperv host has either 'emulated: true' or an 'endpoint'")
        if self.endpoint is None:
            return self
        missing = [name for name in ("certificate", "exchange", "password") if getattr(self, name) is None]
        if missing:
            raise ValueError(f"a hyperv host with 'endpoint' needs {', '.join(repr(name) for name in missing)}")
        if isinstance(self.password, GeneratedSecret):
            message = "the password of a real hyperv host is {env: NAME} or {file: PATH}: nobody can make it up"
            raise ValueError(message)  # noqa: TRY004 - what pydantic reports
        return self

    @property
    def where(self) -> str:
        """Where it is, in a word for people."""
        return self.endpoint or f"hyperv (emulated, over {self.uri})"


class NestedHost(Part):
    """A machine of the topology (role ``hypervisor-host``) that is a host itself, with its own libvirt."""

    kind: Literal["nested"]
    machine: Name

    @property
    def where(self) -> str:
        """Where it is, in a word for people."""
        return f"inside of {self.machine}"


Host = Annotated[LibvirtHost | EsxiHost | HypervHost | NestedHost, Field(discriminator="kind")]


class Site(Part):
    """A place; its machines run on one host."""

    host: Name


class RecipeImage(Part):
    """An image that the lab builds."""

    recipe: Name


class FileImage(Part):
    """The user's own qcow2 with cloud-init; a relative path starts at the topology file."""

    path: Path


def _image_kind(value: object) -> str | None:
    if isinstance(value, dict):
        return next((kind for kind in ("recipe", "path") if kind in value), None)
    return "recipe" if isinstance(value, RecipeImage) else "path"


Image = Annotated[
    Annotated[RecipeImage, Tag("recipe")] | Annotated[FileImage, Tag("path")],
    Discriminator(
        _image_kind,
        custom_error_type="image_kind",
        custom_error_message="an image is {recipe: NAME} or {path: FILE.qcow2}",
    ),
]


class ManagementNetwork(Part):
    """How the lab reaches machines by SSH; machines do not see each other here."""

    kind: Literal["management"]


class SwitchNetwork(Part):
    """A switch between machines. ``isolated``: test failover lands here, nothing else is connected to it.

    ``internet``, ``expressroute`` and ``vpn`` are switches that lead to Azure (seed L68): the public endpoints on the
    internet, public peering, or a site-to-site VPN, over which replication to Azure is not supported. ``uplink`` is a
    network interface of this host that the lab joins to the switch while it is up: the way to machines that are only
    lent.
    """

    kind: Literal["switch", "internet", "expressroute", "vpn"]
    subnet: IPv4Network
    isolated: bool = False
    uplink: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$")


Network = Annotated[ManagementNetwork | SwitchNetwork, Field(discriminator="kind")]


class Route(Part):
    """A static route."""

    to: IPv4Network
    via: IPv4Address


class Interface(Part):
    """A network card. ``host_access`` (management only): the machine may call services of the host."""

    network: Name
    address: IPv4Address | None = None
    routes: tuple[Route, ...] = ()
    host_access: bool = False


class Azure(Part):
    """Azure as the machines see it: over which network they reach it, and the addresses of its endpoints there.

    Replica machines run on ``host``. Without a connection string in the environment variable that
    ``connection_string`` names, the storage is Azurite, and the certificate says so.
    """

    host: Name
    route: Name
    vault_address: IPv4Address
    storage_address: IPv4Address
    source: Literal["vmware", "physical", "hyper-v"]
    connection_string: str | None = Field(default=None, pattern="^[A-Z][A-Z0-9_]*$")


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


class Ipmi(Part):
    """Power by IPMI instead of Redfish, with the BMC's user and password; a real BMC's console is recorded by it too.

    ``allowed``: a person has said so, because IPMI gives a hash of the password to anyone who asks. ``port`` is UDP's,
    623 at a real BMC; an emulated one has a free one.
    """

    allowed: bool = False
    port: int | None = Field(default=None, ge=1, le=65535)

    @model_validator(mode="after")
    def _only_when_allowed(self) -> Self:
        if not self.allowed:
            raise ValueError(
                "a password's hash is given away by IPMI: say 'ipmi: {allowed: true}', or leave 'ipmi' out"
            )
        return self


class Bmc(Part):
    """The BMC of a physical machine (Redfish): a real one (``endpoint``), or an emulated one with its machine.

    ``emulated``: the lab makes a bare virtual machine on the host of the site, and an emulated BMC that alone may
    switch it. ``system`` is the machine's id at a real BMC, needed when that has several. ``certificate`` is a PEM file
    with the BMC's own certificate, which is pinned; a relative path starts at the topology file. ``password`` is a
    reference. ``ipmi``: power goes that way; media, boot source and lease have no other way than Redfish.
    """

    emulated: bool = False
    endpoint: str | None = Field(default=None, pattern=r"^https://[^/@]+$")
    ipmi: Ipmi | None = None
    system: str | None = Field(default=None, min_length=1)
    user: str | None = Field(default=None, min_length=1)
    password: Secret | None = None
    certificate: Path | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.emulated == (self.endpoint is not None):
            raise ValueError("a BMC has either 'emulated: true' or an 'endpoint'")
        needed = ("user", "password", "certificate")
        given = [name for name in (*needed, "system") if getattr(self, name) is not None]
        if self.ipmi is not None and self.ipmi.port is not None:
            given.append("ipmi.port")
        if self.emulated and given:
            raise ValueError(f"an emulated BMC makes these itself: {', '.join(given)}")
        missing = [name for name in needed if name not in given]
        if not self.emulated and missing:
            raise ValueError(f"a BMC with 'endpoint' needs {', '.join(repr(name) for name in missing)}")
        if isinstance(self.password, GeneratedSecret):
            message = "the password of a BMC is {env: NAME} or {file: PATH}: nobody can make it up"
            raise ValueError(message)  # noqa: TRY004 - what pydantic reports
        return self


class Existing(Part):
    """A machine that is there already and only lent: how root logs in to it, seen from this host.

    ``key`` refers to the file with the private key, and ``host_key`` is the only host key that is accepted, as a line
    "ssh-ed25519 AAAA...". ``address`` is where its SSH server answers; its cards, disks and their serial numbers are
    what the topology says of it.
    """

    kind: Literal["existing"]
    address: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]*$")
    port: int = Field(default=22, ge=1, le=65535)
    user: Literal["root"] = "root"
    key: FileSecret
    host_key: str = Field(pattern=r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/=]+$")


class NetworkBoot(Part):
    """A machine behind a BMC is installed over this network (PXE), not from virtual media; the lab alone answers there.

    The machine has a card with an address on it.
    """

    kind: Literal["network-boot"]
    network: Name


Provision = Annotated[Existing | NetworkBoot, Field(discriminator="kind")]


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


class Workload(Part):
    """Records with sequence numbers, written to a machine at a steady rate."""

    machine: Name
    path: str = Field(pattern="^/")
    records_per_second: float = Field(gt=0)


class Topology(Part):
    """A whole topology file."""

    name: Name = Field(alias="topology")
    scenario: Scenario
    description: str = ""
    stand_ins: tuple[StandIn, ...] = ()
    hosts: dict[Name, Host] = Field(min_length=1)
    sites: dict[Name, Site] = Field(min_length=1)
    azure: Azure | None = None
    images: dict[Name, Image] = Field(min_length=1)
    networks: dict[Name, Network] = Field(min_length=1)
    machines: dict[Name, Machine] = Field(min_length=1)
    workloads: dict[Name, Workload] = Field(default_factory=dict)
    stack: StackSettings
    suites: tuple[Subject, ...] = ()
    """Subjects of the suites that this file is meant for; without any: all that it can serve."""
    _source: Path = PrivateAttr(default=Path())

    def model_post_init(self, context: Any, /) -> None:
        """Remember the file that the loader gives as validation context."""
        if isinstance(context, Path):
            self._source = context

    @property
    def source(self) -> Path:
        """The file that this was loaded from; relative paths in it start at its folder."""
        return self._source

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the content: comments and layout do not count."""
        content = self.model_dump(mode="json", by_alias=True)
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def master_target_of(self, machine: str) -> str:
        """Return the master target that writes a machine's replica. Raises BadInput when it goes to Azure."""
        target = self.stack.protect[machine].master_target
        if target is None:
            raise BadInput(f"{self.source}: {machine} is replicated to Azure, where no master target takes part")
        return target

    def host_name_of(self, machine: str) -> str:
        """Return the name of the host that a machine runs on."""
        found = self.machines[machine]
        return found.host or self.sites[found.site].host

    def inside_of(self, machine: str) -> str | None:
        """Return the machine that a machine runs inside of, None when its host is no machine of the topology."""
        host = self.hosts.get(self.host_name_of(machine))
        return host.machine if isinstance(host, NestedHost) else None

    @property
    def libvirt_uris(self) -> frozenset[str]:
        """Where the topology's libvirt hosts are."""
        return frozenset(host.uri for host in self.hosts.values() if isinstance(host, LibvirtHost))

    @property
    def every_stand_in(self) -> tuple[StandIn, ...]:
        """The stand-ins that the file names, and emulated hosts and BMCs, which nobody has to remember to name."""
        bare = StandIn(
            what="bare virtual machine behind an emulated BMC (sushy-tools), installed through it",
            stands_in_for="physical server with a BMC",
            machines=tuple(name for name, machine in self.machines.items() if machine.bmc and machine.bmc.emulated),
        )
        return self.stand_ins + ((bare,) if bare.machines else ()) + self._emulated_hyperv

    @property
    def _emulated_hyperv(self) -> tuple[StandIn, ...]:
        return tuple(
            StandIn(
                what=f"emulated Hyper-V over libvirt{' with an emulated VMM server' if host.vmm else ''}",
                stands_in_for=f"Hyper-V host {name}{' and VMM server' if host.vmm else ''}",
                machines=tuple(key for key, found in self.machines.items() if self.sites[found.site].host == name),
            )
            for name, host in self.hosts.items()
            if isinstance(host, HypervHost) and host.emulated
        )

    @property
    def needed_uris(self) -> frozenset[str]:
        """Where libvirt has to answer, below an emulated Hyper-V host too."""
        emulated = (host for host in self.hosts.values() if isinstance(host, HypervHost) and host.emulated)
        return self.libvirt_uris | {host.uri for host in emulated}

    @property
    def physical(self) -> tuple[str, ...]:
        """The machines behind BMCs, which no hypervisor runs as far as the lab can tell."""
        return tuple(name for name, machine in self.machines.items() if machine.bmc is not None)

    @property
    def lent(self) -> dict[str, Existing]:
        """The machines that are there already, by name."""
        found = {name: machine.provision for name, machine in self.machines.items()}
        return {name: provision for name, provision in found.items() if isinstance(provision, Existing)}

    @property
    def booted_over(self) -> dict[str, str]:
        """The machines that are installed over a network, each with that network."""
        found = {name: machine.provision for name, machine in self.machines.items()}
        return {name: provision.network for name, provision in found.items() if isinstance(provision, NetworkBoot)}

    def machines_with(self, role: Role) -> dict[str, Machine]:
        """Return the machines that have ``role``, by name."""
        return {name: machine for name, machine in self.machines.items() if role in machine.roles}
