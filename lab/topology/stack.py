"""What a topology says about the replication stack under test: policies, groups, protection, recovery plans."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lab.topology.part import Part
from lab.topology.secrets import Secret
from lab.topology.units import Duration, Name, Port, Span


class PruningStep(Part):
    """From the age ``after`` on, one recovery point for each period of ``one_per``; both in seconds."""

    after: Duration
    one_per: Duration


class Policy(Part):
    """A replication policy; times are in seconds.

    ``retention`` 0 keeps only the newest point. ``pruning`` thins points out before that; without it the stack's own
    schedule holds, with an empty list none. ``authentication`` is how a host proves to another one who it is; Kerberos
    needs a machine with the role ``kdc``.
    """

    recovery_point_interval: Duration
    retention: Span
    rpo_threshold: Duration
    application_consistent_interval: Duration | None = None
    pruning: tuple[PruningStep, ...] | None = None
    process_server_port: Port = 9443
    master_target_port: Port = 9444
    authentication: Literal["certificate", "kerberos"] = "certificate"


class Group(Part):
    """A replication group; with ``multi_vm_consistency`` its members share recovery points."""

    members: tuple[Name, ...] = Field(min_length=1, max_length=16)
    multi_vm_consistency: bool = False
    stall_bound: Annotated[Duration, Field(ge=0.05, le=4)] = 1.0
    """No member holds its writes for longer when a shared point is made, in seconds."""


class Relay(Part):
    """The servers that carry one direction of replication."""

    process_server: Name
    master_target: Name


class Protection(Part):
    """How one machine is protected, and over which servers it comes back.

    Without ``master_target`` it goes to Azure, where the vault does what a master target does.
    """

    policy: Name
    process_server: Name
    master_target: Name | None = None
    failback: Relay | None = None


class Cloud(Part):
    """A private cloud of a VMM server, with the Hyper-V capability profile (seed L166); its machines share a policy."""

    vmm: Name
    hosts: tuple[Name, ...] = Field(min_length=1)
    policy: Name | None = None


class HyperVSite(Part):
    """Hyper-V hosts that no VMM server manages (seed L98); their machines share a policy."""

    hosts: tuple[Name, ...] = Field(min_length=1)
    policy: Name


class HostProtection(Part):
    """A machine that is replicated from its host, to a recovery host or, without one, to Azure.

    ``start_after`` is how long the initial replication waits, in seconds (seed L101).
    """

    recovery_host: Name | None = None
    start_after: Span = 0.0


class PeerProtection(Part):
    """A machine that is replicated straight to another one, its peer, which takes over in its place.

    Data disks only: the peer has a disk of the same name for each, and both have one of purpose ``change-log`` for what
    the stack notes. The stack makes their file systems and mounts them, on whichever machine is active.
    ``rpo_threshold`` is in seconds; ``port`` is the stack's, between the two.
    """

    peer: Name
    rpo_threshold: Duration
    port: Port


class MasterTarget(Part):
    """A master target's capacity: the most replica disks; without it the stack's own default holds."""

    replica_disks: Annotated[int, Field(ge=1, le=64)] | None = None


class PlanAction(Part):
    """What happens before or after a group: a script of the topology, or something that a person does.

    ``timeout`` is for scripts, in seconds.
    """

    script: Name | None = None
    manual: str | None = Field(default=None, min_length=1, max_length=400)
    timeout: Duration = 300.0

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.script is None) == (self.manual is None):
            raise ValueError("an action is {script: NAME} or {manual: TEXT}")
        return self


class PlanGroup(Part):
    """Machines that fail over side by side, and what is done before and after them."""

    machines: tuple[Name, ...] = Field(min_length=1)
    before: tuple[PlanAction, ...] = ()
    after: tuple[PlanAction, ...] = ()


class RecoveryPlan(Part):
    """Groups in the order in which they fail over (domain 2.3: at most 7)."""

    groups: tuple[PlanGroup, ...] = Field(min_length=1, max_length=7)


class StackSettings(Part):
    """The replication stack under test and what it is told.

    ``scripts`` are whole files, by name: they belong to what is tested, so the digest of the topology covers them.
    """

    adapter: Name
    pairing_passphrase: Secret
    policies: dict[Name, Policy] = Field(default_factory=dict)
    groups: dict[Name, Group] = Field(default_factory=dict)
    protect: dict[Name, Protection] = Field(default_factory=dict)
    scripts: dict[Name, Annotated[str, Field(pattern=r"^#!/")]] = Field(default_factory=dict)
    master_targets: dict[Name, MasterTarget] = Field(default_factory=dict)
    clouds: dict[Name, Cloud] = Field(default_factory=dict)
    hyper_v_sites: dict[Name, HyperVSite] = Field(default_factory=dict)
    protect_from_host: dict[Name, HostProtection] = Field(default_factory=dict)
    protect_to_peer: dict[Name, PeerProtection] = Field(default_factory=dict)
    plans: dict[Name, RecoveryPlan] = Field(default_factory=dict)

    @property
    def protected(self) -> frozenset[str]:
        """The machines that are protected, in whichever way."""
        return frozenset({*self.protect, *self.protect_from_host, *self.protect_to_peer})
