"""Which host, how it is trusted, and where on it a lab's objects go."""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.hypervisors.trust import Trust


@dataclass(frozen=True)
class Target:
    """A host or vCenter, and the account to use there."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    trust: Trust


@dataclass(frozen=True)
class Placement:
    """Where a lab's objects go. Names left empty: the only, or the first, that the host has."""

    datacenter: str = ""
    datastore: str = ""
    host: str = ""
    switch: str = "vSwitch0"
    management: str = "recovery-lab management"
    """The port group of management cards."""
    management_with_host: str = "recovery-lab management with host"
    """The same, for machines that may call services of the lab's host."""
