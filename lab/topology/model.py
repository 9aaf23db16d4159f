"""A whole topology file, as a type: what there is and where, never how it is made.

Its pieces are modules of their own: ``scenario``, ``hosts``, ``images``, ``networks``, ``azure``, ``machines`` (with
``bmc`` and ``provision``) and ``stack``.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr

from lab.errors import BadInput
from lab.topology.azure import Azure
from lab.topology.hosts import Host, HypervHost, LibvirtHost, NestedHost, Site
from lab.topology.images import Image
from lab.topology.machines import Machine, Role
from lab.topology.networks import Network
from lab.topology.part import Part
from lab.topology.provision import Existing, NetworkBoot
from lab.topology.scenario import Scenario
from lab.topology.stack import StackSettings
from lab.topology.units import Name, Subject


class StandIn(Part):
    """Something that takes a real thing's place; every certificate names it."""

    what: str
    stands_in_for: str
    machines: tuple[Name, ...] = ()


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
            what="bare virtual machine behind an emulated BMC (sushy-tools)",
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
        return {name: loan for name in self.machines if (loan := self.loan_of(name)) is not None}

    def loan_of(self, machine: str) -> Existing | None:
        """Return how a machine that is there already is reached, None when the lab makes the machine."""
        provision = self.machines[machine].provision
        return provision if isinstance(provision, Existing) else None

    @cached_property
    def booted_over(self) -> dict[str, str]:
        """The machines that are installed over a network, each with that network."""
        found = {name: machine.provision for name, machine in self.machines.items()}
        return {name: provision.network for name, provision in found.items() if isinstance(provision, NetworkBoot)}

    def machines_with(self, role: Role) -> dict[str, Machine]:
        """Return the machines that have ``role``, by name."""
        return {name: machine for name, machine in self.machines.items() if role in machine.roles}
