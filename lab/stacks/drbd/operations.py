"""The steps of every operation on a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.stacks.drbd.jobs import Action
from lab.stacks.drbd.node import Machine
from lab.stacks.drbd.status import Pair
from lab.stacks.errors import StackError
from lab.stacks.machines import Operation
from lab.waiting import Deadline, DeadlineExceeded, wait_until

GONE_SECONDS = 60.0
"""DRBD asks the other side every 3 s, and gives it 3 s to answer (see ``Resource.text``)."""
CONNECT_SECONDS = 120.0
BOOT_SECONDS = 600.0
ALONE = "StandAlone"
"""What a side says that has turned the other one down: another secret, or data that are not of one history."""


@dataclass(frozen=True)
class Operations:
    """What can be done with a protected machine and its standby."""

    source: Machine
    standby: Machine

    def pair(self) -> Pair:
        """Return both views."""
        return Pair(self.source.side(), self.standby.side())

    def steps(self, operation: Operation) -> Sequence[Action]:
        """Return the steps of an operation that the state allows. Raises KeyError for one that DRBD does not have."""
        return {
            Operation.ENABLE: (
                ("make-metadata", self._make_metadata),
                ("connect", self._up),
                ("promote-source", lambda: self.source.drbdadm("primary", "--force")),
                ("make-file-system", self.source.format),
                ("mount", self.source.mount),
            ),
            Operation.DISABLE: (
                ("unmount", self.source.unmount),
                ("disconnect", self._down),
                ("wipe-metadata", self._wipe),
            ),
            Operation.FAILOVER: (
                ("wait-source-gone", self._wait_source_gone),
                ("promote-standby", lambda: self.standby.drbdadm("primary")),
                ("mount", self.standby.mount),
            ),
            Operation.REPROTECT: (
                ("start-source", self._start_source),
                ("connect-and-discard-old-writes", self._rejoin),
            ),
            Operation.FAILBACK: (
                ("unmount", self.standby.unmount),
                ("demote-standby", lambda: self.standby.drbdadm("secondary")),
                ("promote-source", lambda: self.source.drbdadm("primary")),
                ("mount", self.source.mount),
            ),
        }[operation]

    def _make_metadata(self) -> None:
        for machine in (self.source, self.standby):
            machine.drbdadm("create-md", "--force")

    def _up(self) -> None:
        for machine in (self.source, self.standby):
            machine.load()
            machine.drbdadm("up")
        self._wait_connected()

    def _down(self) -> None:
        for machine in (self.standby, self.source):
            machine.drbdadm("down")

    def _wipe(self) -> None:
        for machine in (self.standby, self.source):
            machine.drbdadm("--", "--force", "wipe-md")  # as an option of drbdmeta's: drbdadm has none for this

    def _wait_source_gone(self) -> None:
        def gone() -> bool:
            side = self.standby.side()
            return side is not None and side.connection in {"WFConnection", ALONE}

        what = f"loss of {self.source.machine.name} at {self.standby.machine.name}"
        try:
            wait_until(gone, Deadline.after(GONE_SECONDS), what, every=0.5)
        except DeadlineExceeded as error:
            name = self.source.machine.name
            raise StackError(f"{name} is connected: DRBD has one primary at a time, so it has to be off") from error

    def _start_source(self) -> None:
        machine = self.source.machine
        machine.power_on()
        machine.wait_ready(Deadline.after(BOOT_SECONDS))

    def _rejoin(self) -> None:
        """Let the old source follow; what it alone wrote is discarded, also after a split brain."""
        self.source.load()
        if self.source.side() is None:
            self.source.drbdadm("up")
        if self._wait_met() == ALONE:
            self.source.drbdadm("connect", "--discard-my-data")
            if (side := self.standby.side()) is not None and side.connection == ALONE:
                self.standby.drbdadm("connect")
            self._wait_connected()

    def _wait_connected(self) -> None:
        if self._wait_met() == ALONE:
            raise StackError(f"{self.source.machine.name} will not have {self.standby.machine.name} as its peer")

    def _wait_met(self) -> str:
        """Wait until the source has found the standby, or has given it up, and return which."""

        def met() -> str | None:
            side = self.source.side()
            settled = side is not None and (side.synchronising or side.connection in {"Connected", ALONE})
            return side.connection if side is not None and settled else None

        names = f"{self.source.machine.name} and {self.standby.machine.name}"
        return wait_until(met, Deadline.after(CONNECT_SECONDS), f"connection of {names}", every=0.5)
