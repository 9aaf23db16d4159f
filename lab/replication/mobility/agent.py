"""The mobility service as a component: one replication at a time, ordered by the configuration server."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from lab.replication.common.config import ServiceConfig
from lab.replication.common.control import CommandFailed, Handler
from lab.replication.common.durable import JSON
from lab.replication.common.outbox import Outbox
from lab.replication.common.tls import client_context
from lab.replication.mobility.capture import LoggingCapture
from lab.replication.mobility.group.round import Outcome
from lab.replication.mobility.group.runner import GroupRunner
from lab.replication.mobility.hooks import FOLDER
from lab.replication.mobility.networks import DIRECTORY, write_replica_networks
from lab.replication.mobility.replicator import Replicator
from lab.replication.mobility.schedule import Schedule
from lab.replication.mobility.session import STEADY, Order, Session, SessionFile, load_session

log = logging.getLogger(__name__)

SPOOL_SHARE = 0.8

CaptureFactory = Callable[[ServiceConfig], LoggingCapture]


class MobilityAgent:
    """Replicates this machine.

    Its configuration has ``spool_dir``, and may have ``spool_quota_bytes`` (default: 80 % of that file system) and
    ``network_dir`` and ``hooks_dir`` (scripts that quiet applications); ``disks`` and ``change_log`` are for the
    capture.
    """

    def __init__(self, config: ServiceConfig, outbox: Outbox, open_capture: CaptureFactory) -> None:
        self._config = config
        self._outbox = outbox
        self._capture = open_capture(config)
        self._session_path = config.state_dir / "session.json"
        self._spool = Path(config.settings["spool_dir"])
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        default = int(shutil.disk_usage(self._spool).total * SPOOL_SHARE)
        self._quota = int(config.settings.get("spool_quota_bytes", default))
        self._networks = Path(config.settings.get("network_dir", DIRECTORY))
        self._lock = threading.Lock()
        self._hooks = Path(config.settings.get("hooks_dir", FOLDER))
        self._replicator: Replicator | None = None
        self._group: GroupRunner | None = None

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands of the configuration server."""
        return {
            "start-replication": self.start_replication,
            "cut": self.cut,
            "resynchronise": self.resynchronise,
            "stop-replication": self.stop_replication,
        }

    @property
    def slow_commands(self) -> frozenset[str]:
        """None: there is one replication, and its commands have an order."""
        return frozenset()

    def start(self) -> None:
        """Go on with the replication of the last run."""
        session = load_session(self._session_path)
        if session is not None:
            self._run(session)

    def close(self) -> None:
        """Stop; the replication goes on after the next start."""
        self._leave_group()
        if self._replicator is not None:
            self._replicator.close()
        session = load_session(self._session_path)
        # What is captured while disks are still being copied is dropped anyway, and so is what nobody replicates.
        self._capture.close(goes_on=session is not None and session.phase == STEADY)

    def start_replication(self, arguments: JSON) -> JSON:
        """Replicate in a stream; one that runs already goes on, by the new order; another one is given up."""
        order = Order.from_json(arguments)
        with self._lock:
            running = self._replicator
            session = load_session(self._session_path)
            if running is None or session is None or running.stream != order.stream:
                self._leave_group()
                if running is not None:
                    running.delete()
                write_replica_networks(order.replica_networks, self._networks)
                self._run(Session(order, phase=order.mode))
            elif session.order != order:
                # A policy or the group has changed: another port, another interval. What waits is sent the new way.
                self._leave_group()
                running.close()
                self._run(replace(session, order=order))
        return {"stream": order.stream}

    def cut(self, arguments: JSON) -> JSON:
        """Make a recovery point now; ``shared``: together with the other members of the group."""
        running = self._running(arguments)
        if not arguments.get("shared"):
            return running.cut()
        if self._group is None:
            raise CommandFailed("not-in-a-group", f"{self._config.name} is in no consistent group")
        return self._group.round(application=bool(arguments.get("application"))).to_json()

    def resynchronise(self, arguments: JSON) -> JSON:
        """Compare all disks with the replica again."""
        self._running(arguments).resynchronise()
        return {"stream": arguments["stream"]}

    def stop_replication(self, arguments: JSON) -> JSON:
        """End and forget the replication; ending one that does not run changes nothing."""
        with self._lock:
            running = self._replicator
            if running is not None and running.stream == str(arguments["stream"]):
                self._leave_group()
                running.delete()
                self._replicator = None
        return {"stream": arguments["stream"]}

    def _run(self, session: Session) -> None:
        self._replicator = Replicator(
            self._capture,
            SessionFile(self._session_path, session),
            machine=self._config.name,
            spool=self._spool,
            quota=self._quota,
            context=client_context(self._config.identity_dir),
            outbox=self._outbox,
            hooks=self._hooks,
        )
        self._replicator.start()
        self._join_group(session.order, self._replicator)

    def _join_group(self, order: Order, replicator: Replicator) -> None:
        if order.group is None:
            return
        schedule = Schedule.starting(time.monotonic(), order.interval_s, order.application_interval_s, group=False)
        self._group = GroupRunner(
            order.group,
            self._config.name,
            identity_dir=self._config.identity_dir,
            cutter=replicator,
            schedule=schedule,
            noted=lambda outcome: self._report(order.stream, outcome),
        )
        self._group.start()

    def _leave_group(self) -> None:
        if self._group is not None:
            self._group.close()
            self._group = None

    def _report(self, stream: str, outcome: Outcome) -> None:
        self._outbox.post("group-round", outcome.to_json(), machine=self._config.name, stream=stream)

    def _running(self, arguments: JSON) -> Replicator:
        running = self._replicator
        if running is None or running.stream != str(arguments["stream"]):
            raise CommandFailed("unknown-stream", f"stream {arguments['stream']} is not replicated here")
        return running
