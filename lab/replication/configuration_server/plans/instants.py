"""One instant for the members of a replication group, chosen once at the start of a run (seed L67, domain 2.3, 2.4).

The groups of a plan fail over one after the other. If each member chose its newest shared point when its turn comes,
they would get different ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.errors import OperationRefused
from lab.replication.configuration_server.groups.document import Group
from lab.replication.configuration_server.groups.shared import SharedPoint, shared_points
from lab.replication.configuration_server.groups.table import GroupTable
from lab.replication.configuration_server.machines import MachineTable
from lab.replication.configuration_server.plans.kinds import WORK, RunKind, reason_to_skip
from lab.replication.configuration_server.selection import Selector, selector_of
from lab.replication.configuration_server.sessions import SessionTable

AS_ONE = (RunKind.UNPLANNED, RunKind.FAILBACK)
"""What a member of a group may not do without the others (domain 2.4)."""
WITH_INSTANT = (RunKind.TEST, RunKind.UNPLANNED)


def newest_fitting(shared: Sequence[SharedPoint], selector: Selector) -> SharedPoint | None:
    """Return the newest shared point that a selector means, or None; without a word about it any kind will do."""
    for candidate in reversed(shared):
        if selector.wants_quiet_applications and not candidate.application_consistent:
            continue
        limit = selector.time_ns
        if limit is None or all(point.end_ns <= limit for point in candidate.points.values()):
            return candidate
    return None


@dataclass(frozen=True)
class Instants:
    """Finds the points of the members of groups."""

    groups: GroupTable
    machines: MachineTable
    sessions: SessionTable

    def choose(self, machines: Collection[str], kind: RunKind, arguments: Mapping[str, Any]) -> dict[str, str]:
        """Return the point of every member of a consistent group that a run of ``kind`` will fail over.

        Raises:
            OperationRefused: only some members of a group are in the plan, or they share no such point.
        """
        chosen: dict[str, str] = {}
        for group in self.groups.all():
            if group.consistent and set(machines) & set(group.names):
                self._require_all(group, machines, kind)
                if kind in WITH_INSTANT:
                    chosen |= self._points(group, machines, kind, selector_of(arguments))
        return chosen

    def _require_all(self, group: Group, machines: Collection[str], kind: RunKind) -> None:
        missing = sorted(set(group.names) - set(machines))
        if kind in AS_ONE and missing:
            message = f"group {group.name} fails over as one, but {', '.join(missing)} is not in the plan"
            raise OperationRefused("group-member", WORK[kind].operation, group.name, (), message)

    def _points(self, group: Group, machines: Collection[str], kind: RunKind, selector: Selector) -> dict[str, str]:
        found = [self.machines.get(name) for name in group.names if name in machines]
        waiting = [machine for machine in found if reason_to_skip(kind, machine) is None]
        if not waiting:
            return {}
        points = {machine.name: self.sessions.points(machine.attributes.get("stream")) for machine in waiting}
        instant = newest_fitting(shared_points(points), selector)
        if instant is None:
            message = f"the members of group {group.name} share no recovery point that fits {selector}"
            raise OperationRefused("not-ready", WORK[kind].operation, group.name, (), message)
        return {name: point.id for name, point in instant.points.items()}
