"""The group's part of an agent: the port, and the rounds if this machine is the coordinator."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lab.replication.common.control import CommandFailed
from lab.replication.common.tls import client_context, server_context
from lab.replication.mobility.group.coordinator import Coordinator
from lab.replication.mobility.group.member import Cutter, GroupServer
from lab.replication.mobility.group.order import GroupOrder
from lab.replication.mobility.group.round import Outcome
from lab.replication.mobility.rendezvous import Abandoned
from lab.replication.mobility.schedule import Schedule

log = logging.getLogger(__name__)

STOP_S = 60.0


class GroupRunner:
    """Listens, and makes a round every interval where this machine coordinates."""

    def __init__(
        self,
        order: GroupOrder,
        me: str,
        *,
        identity_dir: Path,
        cutter: Cutter,
        schedule: Schedule,
        noted: Callable[[Outcome], None],
    ) -> None:
        self._schedule = schedule
        self._noted = noted
        self._stop = threading.Event()
        self._server = GroupServer(order, me, server_context(identity_dir, require_client=True), cutter)
        self._coordinator = (
            Coordinator(order, me, client_context(identity_dir), cutter, noted) if order.coordinator == me else None
        )
        self._thread = threading.Thread(target=self._round_always, name="group-rounds", daemon=True)

    def start(self) -> None:
        """Open the port, and begin with the rounds."""
        self._server.start()
        if self._coordinator is not None:
            self._thread.start()

    def close(self) -> None:
        """Close the port; a round under way ends first."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        if self._coordinator is not None:
            self._coordinator.close()
        self._server.close()

    def round(self, *, application: bool = False) -> Outcome:
        """Make a round now.

        Raises:
            CommandFailed: this machine does not coordinate, or does not replicate.
        """
        if self._coordinator is None:
            raise CommandFailed("not-coordinator", "another machine makes the rounds of this group")
        try:
            return self._coordinator.round(application=application)
        except Abandoned as error:
            raise CommandFailed("no-instant", str(error)) from error

    def _round_always(self) -> None:
        while self._schedule.wait_due(self._stop):
            application = self._schedule.application_due(time.monotonic())
            self._schedule.note(time.monotonic(), application=application)
            self._try_round(application=application)

    def _try_round(self, *, application: bool) -> None:
        try:
            self.round(application=application)
        except CommandFailed as error:
            log.info("no round: %s", error)
            if application:
                self._noted(Outcome(None, (f"applications: {error}",), {}))
                self._try_round(application=False)
        except Exception:  # the members go on by themselves, and the next round may work
            log.exception("no round")
