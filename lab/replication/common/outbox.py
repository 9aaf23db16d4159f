"""Events that reach the configuration server in order and at least once, whatever restarts in between."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from lab.replication.common.backoff import Backoff
from lab.replication.common.control import ControlClient, ControlRefused, ControlUnavailable
from lab.replication.common.durable import JSON, read_json, write_json
from lab.waiting import Deadline

log = logging.getLogger(__name__)

IDLE_S = 30.0


class Outbox:
    """A durable queue of events, one file each, and the thread that delivers them."""

    def __init__(self, directory: Path, client: ControlClient) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._client = client
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        names = self._waiting()
        self._next = int(names[-1].stem) + 1 if names else 1
        self._thread = threading.Thread(target=self._deliver, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Stop delivering; what waits is delivered after the next start."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def post(self, kind: str, data: JSON, *, machine: str, stream: str | None = None) -> None:
        """Queue an event; when this returns the event survives a crash."""
        with self._lock:
            path = self._directory / f"{self._next:012}.json"
            write_json(path, {"kind": kind, "machine": machine, "stream": stream, "data": data})
            self._next += 1
        self._wake.set()

    def wait_delivered(self, deadline: Deadline) -> bool:
        """Wait until nothing waits; return whether that was in time."""
        pause = threading.Event()
        while self._waiting() and not deadline.expired and not self._stop.is_set():
            pause.wait(deadline.clamp(0.05))
        return not self._waiting()

    def _waiting(self) -> list[Path]:
        return sorted(path for path in self._directory.glob("*.json") if not path.name.startswith("."))

    def _deliver(self) -> None:
        backoff = Backoff(self._stop)
        while not self._stop.is_set():
            self._wake.clear()
            if self._deliver_waiting():
                backoff.reset()
                self._wake.wait(IDLE_S)
            else:
                backoff.pause()

    def _deliver_waiting(self) -> bool:
        """Deliver all that waits; return False when the configuration server cannot be reached."""
        for path in self._waiting():
            event = read_json(path)
            try:
                if event is not None:
                    self._client.event(event["kind"], event["data"], machine=event["machine"], stream=event["stream"])
            except ControlUnavailable as error:
                log.warning("event waits: %s", error)
                return False
            except ControlRefused as error:
                # It would block all later ones for ever; the log is where it is kept.
                log.warning("event %s dropped: %s", event, error)
            path.unlink(missing_ok=True)
            if self._stop.is_set():
                break
        return True
