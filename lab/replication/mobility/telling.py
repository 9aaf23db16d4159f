"""What a replication tells about itself: the events of one stream of one machine."""

from __future__ import annotations

import time

from lab.replication.common.durable import JSON
from lab.replication.common.outbox import Outbox
from lab.replication.mobility.copier import Progress
from lab.waiting import Deadline

PROGRESS_S = 5.0
ANNOUNCE_S = 30.0


class Telling:
    """Posts events of ``stream``; ``first`` in what follows says that the initial replication was never complete."""

    def __init__(self, outbox: Outbox, machine: str, stream: str) -> None:
        self._outbox = outbox
        self._machine = machine
        self._stream = stream
        self._progress_at = 0.0

    def post(self, kind: str, data: JSON) -> None:
        """Tell anything."""
        self._outbox.post(kind, data, machine=self._machine, stream=self._stream)

    def begins_again(self, reason: str, cause: str | None, *, first: bool) -> None:
        """Tell that everything has to be compared; an initial replication only begins again."""
        data = {"reason": reason, **({"cause": cause} if cause else {})}
        self.post("health" if first else "resynchronisation-required", data)

    def copied(self, first_sequence: int, *, first: bool) -> None:
        """Tell that the replica is complete with the changes from ``first_sequence`` on."""
        kind = "initial-replication-complete" if first else "resynchronisation-complete"
        self.post(kind, {"first_sequence": first_sequence})

    def wait_heard(self) -> None:
        """Wait until it was delivered: nobody should hear of a recovery point before that the copy is complete."""
        self._outbox.wait_delivered(Deadline.after(ANNOUNCE_S))

    def progress(self, phase: str, progress: Progress) -> None:
        """Tell how far the copy is, every now and then."""
        if time.monotonic() - self._progress_at >= PROGRESS_S:
            self._progress_at = time.monotonic()
            self.post("progress", {"phase": phase, **vars(progress)})
