"""The sending half of a provider: the replications of machines of this host, each in a stream."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from lab.replication.common.config import ServiceConfig
from lab.replication.common.control import CommandFailed, Handler
from lab.replication.common.durable import JSON, read_json
from lab.replication.common.outbox import Outbox
from lab.replication.common.storage_access import StorageAccess
from lab.replication.common.tls import KERBEROS, client_context, registration_context
from lab.replication.mobility.session import STEADY, SessionFile
from lab.replication.provider.capture import CheckpointCapture
from lab.replication.provider.order import HostOrder, HostSession
from lab.replication.provider.outlets import HostOutlet, Interruption, ReceiverUplink, StorageOutlet
from lab.replication.provider.replication import HostReplication
from lab.replication.provider.retry import UNIT_S
from lab.replication.provider.tickets import Realm, TicketHolder, require_proof
from lab.replication.provider.tracking import TrackedMachine
from lab.waiting import Deadline

log = logging.getLogger(__name__)

DRAIN_S = 600.0
DEFAULT_QUOTA = 4 << 30
Track = Callable[[str, Mapping[int, str]], TrackedMachine]
"""Finds a machine of this host by its name, with the serial numbers of its disks by index."""


class Sender:
    """Replicates machines of this host; state is in ``state_dir/sending``."""

    def __init__(self, config: ServiceConfig, outbox: Outbox, track: Track) -> None:
        self._config = config
        self._outbox = outbox
        self._track = track
        self._realm = Realm.of(config)
        self._retry_unit_s = float(config.settings.get("retry_unit_s", UNIT_S))
        self._quota = int(config.settings.get("cache_quota_bytes", DEFAULT_QUOTA))
        self._directory = config.state_dir / "sending"
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._running: dict[str, HostReplication] = {}
        self._stops: dict[str, threading.Event] = {}

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands of the orchestrator."""
        return {
            "start-replication": self.start_replication,
            "renew-storage": self.renew_storage,
            "cut": lambda a: self._known(a).cut(),
            "resynchronise": self._resynchronise,
            "drain": self.drain,
            "stop-replication": self.stop_replication,
            "end-replications": self.end_replications,
            "record-changes": self.record_changes,
        }

    def start(self) -> None:
        """Go on with the replications of the last run."""
        for path in sorted(self._directory.glob("*/session.json")):
            stored = read_json(path)
            if stored is not None:
                self._run(HostSession.from_json(stored))

    def close(self) -> None:
        """Stop; the replications go on after the next start."""
        for name, running in list(self._running.items()):
            self._stops[name].set()
            running.close()

    def start_replication(self, arguments: JSON) -> JSON:
        """Replicate a machine in a stream; one that runs goes on, by the new order, also after it was given up.

        Raises:
            CommandFailed: the order asks for something that does not exist, such as another copy frequency.
        """
        order = HostOrder.from_json(arguments)
        require_proof(order.authentication, self._realm)
        with self._lock:
            known = self._running.get(order.stream)
            if known is None:
                for name in [n for n, other in self._running.items() if other.session.order.machine == order.machine]:
                    self._end(name)
                self._run(HostSession(order, phase=order.mode, completed=order.mode == STEADY))
            elif replace(known.session.order, mode=order.mode) != order:
                session = known.session
                self._stop(order.stream)
                self._run(replace(session, order=order, given_up=""))
            else:
                known.resume()
        return {"stream": order.stream}

    def renew_storage(self, arguments: JSON) -> JSON:
        """Use a new signature for a stream's container; nothing is interrupted."""
        known = self._known(arguments)
        access = StorageAccess.from_json(arguments["storage"])
        if not isinstance(known.outlet, StorageOutlet):
            raise CommandFailed("not-supported", f"stream {known.stream} does not go to Azure")
        known.outlet.renew(access)
        known.remember_destination(access)
        return {"stream": known.stream}

    def drain(self, arguments: JSON) -> JSON:
        """Wait until the other side has everything; with ``final`` after one more cut, for a machine that is off."""
        known = self._known(arguments)
        deadline = Deadline.after(float(arguments.get("timeout_s", DRAIN_S)))
        made = known.cut() if arguments.get("final") else {}
        return {**made, "last_sequence": known.drain(deadline)}

    def stop_replication(self, arguments: JSON) -> JSON:
        """End and forget a replication; ending one that does not run changes nothing."""
        with self._lock:
            if str(arguments["stream"]) in self._running:
                self._end(str(arguments["stream"]))
        return {"stream": arguments["stream"]}

    def end_replications(self, arguments: JSON) -> JSON:
        """End and forget every replication of a machine: it ended elsewhere, which this host may not have heard."""
        machine = str(arguments["machine"])
        with self._lock:
            ended = [name for name, running in self._running.items() if running.session.order.machine == machine]
            for name in ended:
                self._end(name)
        return {"streams": ended}

    def record_changes(self, arguments: JSON) -> JSON:
        """Begin to record the changes of a machine whose disks are equal to its replica: nothing has to be copied.

        The machine is paused before its first instruction. ``start-replication`` with the mode ``steady`` goes on.
        """
        stream, machine = str(arguments["stream"]), str(arguments["machine"])
        serials = {int(disk["index"]): str(disk["serial"]) for disk in arguments["disks"]}
        capture = self._capture(stream, machine, serials)
        capture.release(capture.restart())
        return {"stream": stream}

    def _resynchronise(self, arguments: JSON) -> JSON:
        known = self._known(arguments)
        known.resynchronise()
        known.resume()
        return {"stream": known.stream}

    def _run(self, session: HostSession) -> None:
        order = session.order
        directory = self._folder(order.stream)
        stop = self._stops[order.stream] = threading.Event()

        def open_outlet(interrupted: Interruption) -> HostOutlet:
            return self._outlet(order, stop, interrupted)

        running = HostReplication(
            self._capture(order.stream, order.machine, order.serials),
            SessionFile(directory / "session.json", session),
            directory,
            open_outlet,
            self._outbox,
            stop=stop,
            retry_unit_s=self._retry_unit_s,
        )
        self._running[order.stream] = running
        running.start()

    def _capture(self, stream: str, machine: str, serials: Mapping[int, str]) -> CheckpointCapture:
        directory = self._folder(stream)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return CheckpointCapture(self._track(machine, serials), directory / "capture.json")

    def _outlet(self, order: HostOrder, stop: threading.Event, interrupted: Interruption) -> HostOutlet:
        def noted(key: str) -> Callable[[str], None]:
            return lambda problem: self._outbox.post(
                "health", {key: problem or "ok"}, machine=order.machine, stream=order.stream
            )

        if isinstance(order.destination, StorageAccess):
            return StorageOutlet(
                self._folder(order.stream) / "upload",
                order.destination,
                order.stream,
                order.machine,
                stop,
                quota=self._quota,
                interrupted=interrupted,
                noted=noted("storage"),
            )
        by_ticket = self._realm is not None and order.authentication == KERBEROS
        identity = self._config.identity_dir
        return ReceiverUplink(
            order.destination,
            registration_context(identity / "ca.pem") if by_ticket else client_context(identity),
            order.stream,
            stop,
            interrupted=interrupted,
            noted=noted("recovery_host"),
            retry_unit_s=self._retry_unit_s,
            introduction=TicketHolder(self._realm) if self._realm is not None and by_ticket else None,
        )

    def _stop(self, stream: str) -> None:
        self._stops.pop(stream).set()
        self._running.pop(stream).close()

    def _end(self, stream: str) -> None:
        self._stops.pop(stream).set()
        self._running.pop(stream).delete()

    def _folder(self, stream: str) -> Path:
        if not stream or "/" in stream or stream.startswith("."):
            raise CommandFailed("bad-stream", f"{stream!r} is not the id of a stream")
        return self._directory / stream

    def _known(self, arguments: JSON) -> HostReplication:
        running = self._running.get(str(arguments["stream"]))
        if running is None:
            raise CommandFailed("unknown-stream", f"stream {arguments['stream']} is not replicated here")
        return running
