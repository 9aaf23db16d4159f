"""Has replica disks grown by a job of its own once an agent has reported that disks have grown; nobody has to ask."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from lab.replication.configuration_server.errors import ControlError
from lab.replication.configuration_server.jobs import JobRunner
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.states import Operation

log = logging.getLogger(__name__)

NS = 10**9
PAUSE_S = 60.0
"""So long after a failed attempt there is no other one."""


@dataclass(frozen=True)
class GrowthWatch:
    """Looks at one machine at a time, whenever health is looked at."""

    jobs: JobRunner

    def look(self, machine: Machine) -> None:
        """Start the job if it is wanted and possible now."""
        if machine.settings.azure is not None:
            # Refused each time (targets/azure.py): the cause stays in the machine's health until somebody decides.
            return
        allowed = machine.allowed
        if not machine.attributes.get("grown_disks") or Operation.GROW_DISKS not in allowed:
            return
        if self.jobs.running(machine.name) is not None or self._failed_lately(machine.name):
            return
        try:
            self.jobs.start(machine.name, Operation.GROW_DISKS, {})
        except ControlError as error:
            log.warning("the replica disks of %s are not grown: %s", machine.name, error)

    def _failed_lately(self, name: str) -> bool:
        last = next(iter(self.jobs.recent(1, name)), None)
        if last is None or last["operation"] != Operation.GROW_DISKS or last["state"] != "failed":
            return False
        return bool(time.time_ns() - (last["ended_ns"] or 0) < PAUSE_S * NS)
