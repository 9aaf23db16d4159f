"""How many replica disks a master target takes: the number that is needed depends on the machines (seed L142)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.settings import Server, SiteSettings
from lab.replication.configuration_server.states import State

MASTER_TARGET_FULL = "master-target-full"
"""The type of the error that names the way out: another master target."""
DEFAULT_REPLICA_DISKS = 13
"""A virtual machine of this lab takes 21 disks beside its own three and four cards (decision 0012); eight places are
kept for the copies that a test failover or failover of one machine attaches for a while."""

_FORWARD = (
    State.ENABLING,
    State.ENABLING_FAILED,
    State.INITIAL_REPLICATION,
    State.PROTECTED,
    State.FAILING_OVER,
    State.FAILOVER_FAILED,
    State.COMMIT_PENDING,
    State.CHANGING_RECOVERY_POINT,
    State.CHANGE_RECOVERY_POINT_FAILED,
    State.DISABLING,
    State.DISABLING_FAILED,
)
_REVERSE = (
    State.REPROTECTING,
    State.REPROTECT_FAILED,
    State.PROTECTED_REVERSE,
    State.FAILING_BACK,
    State.FAILBACK_FAILED,
)


@dataclass(frozen=True)
class Capacity:
    """The most replica disks of each master target; one that is not named has the default."""

    replica_disks: Mapping[str, int] = field(default_factory=dict)

    def of(self, target: str) -> int:
        """Return how many replica disks a master target takes."""
        return self.replica_disks.get(target, DEFAULT_REPLICA_DISKS)

    def refusal(self, machine: Machine, target: Server, others: Iterable[Machine]) -> str | None:
        """Return why a machine's disks find no room at a master target, or None; ``others`` may hold the machine."""
        used = sum(len(each.settings.disks) for each in others if each.name != machine.name and holds(each, target))
        wanted, most = len(machine.settings.disks), self.of(target.name)
        if used + wanted <= most:
            return None
        return (
            f"master target {target.name} has {used} of at most {most} replica disks, {machine.name} needs {wanted}: "
            "set up another master target in that site and name it in the machine's settings"
        )


def holds(machine: Machine, target: Server) -> bool:
    """Whether disks of a machine are at a master target now, or are on their way to it or from it."""
    if machine.state in _FORWARD:
        goes_to = machine.settings.target
        return isinstance(goes_to, SiteSettings) and goes_to.master_target.name == target.name
    failback = machine.settings.failback
    return machine.state in _REVERSE and failback is not None and failback.master_target.name == target.name
