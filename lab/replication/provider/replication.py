"""Replication of one machine from its host: a copy of a frozen moment, then a cut every interval (seed L101-102).

Two threads: the cutter makes a cut every interval, the sender copies disks and sends what waits. What was cut and not
sent yet is their ``HostRecord``.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lab.replication.changeset import Head
from lab.replication.common.control import CommandFailed
from lab.replication.common.durable import JSON
from lab.replication.common.outbox import Outbox
from lab.replication.mobility.capture import Cut
from lab.replication.mobility.copier import Copier
from lab.replication.mobility.hrl import HrlQueue
from lab.replication.mobility.losses import LOST, cause_of
from lab.replication.mobility.schedule import Schedule
from lab.replication.mobility.session import COPY, STEADY, SessionFile
from lab.replication.mobility.telling import Telling
from lab.replication.mobility.uplink import Interrupted
from lab.replication.provider.capture import CheckpointCapture
from lab.replication.provider.order import Destination, HostSession
from lab.replication.provider.outlets import HostOutlet, Interruption
from lab.replication.provider.record import HostRecord
from lab.replication.provider.retry import UNIT_S, RetryPauses, is_recoverable
from lab.replication.provider.tracking import NotQuiet
from lab.waiting import Deadline, wait_until

log = logging.getLogger(__name__)

STOP_S = 60.0
IDLE_S = 5.0
COPY_BYTES = 32 << 20
"""So much of a disk is copied as one document, while the next one is read."""
OK = "ok"
OpenOutlet = Callable[[Interruption], HostOutlet]


class HostReplication:
    """Replicates in the stream of ``session``; ``directory`` is for what is not beside the disks."""

    def __init__(
        self,
        capture: CheckpointCapture,
        session: SessionFile[HostSession],
        directory: Path,
        open_outlet: OpenOutlet,
        outbox: Outbox,
        *,
        stop: threading.Event,
        retry_unit_s: float = UNIT_S,
    ) -> None:
        self._capture = capture
        self._session = session
        self._directory = directory
        self._stop = stop
        self._pauses = RetryPauses(self._stop, retry_unit_s)
        self._condition = ""
        order = session.value.order
        self._telling = Telling(outbox, order.machine, order.stream)
        self._record = HostRecord(capture, session, self._telling, directory)
        self._schedule = Schedule.starting(
            time.monotonic(), order.interval_s, order.application_interval_s, group=False
        )
        self._outlet = open_outlet(self._record.again.is_set)
        self._threads = [
            threading.Thread(target=self._cut_always, name=f"cutter-{order.stream}", daemon=True),
            threading.Thread(target=self._send_always, name=f"sender-{order.stream}", daemon=True),
        ]

    @property
    def stream(self) -> str:
        """The id of the stream."""
        return self._session.value.order.stream

    @property
    def session(self) -> HostSession:
        """What is remembered of it."""
        return self._session.value

    @property
    def outlet(self) -> HostOutlet:
        """Where the documents go."""
        return self._outlet

    def start(self) -> None:
        """Go on where the last run stopped."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop; what waits stays on disk."""
        self._stop.set()
        self._record.wake.set()
        self._outlet.abort()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(STOP_S)
        self._outlet.close()
        with self._record.lock:
            self._forgiving(self._capture.close)

    def delete(self) -> None:
        """Stop, and forget the stream with its checkpoints."""
        self.close()
        self._record.forget()
        self._forgiving(self._capture.end)
        self._outlet.delete()
        self._session.delete()
        shutil.rmtree(self._directory, ignore_errors=True)

    def remember_destination(self, destination: Destination) -> None:
        """Remember a destination that has changed in nothing but its signature."""
        self._session.update(order=replace(self._session.value.order, destination=destination))

    def resume(self) -> None:
        """Try again at once, also after a failure that was given up."""
        self._session.update(given_up="")
        self._pauses.reset()
        self._record.wake.set()

    def cut(self) -> JSON:
        """Make a recovery point now; return its id, sequence and times.

        Raises:
            CommandFailed: the disks are still being copied, or changes were lost.
        """
        with self._record.lock:
            if self._session.value.phase != STEADY:
                raise CommandFailed("not-replicating-yet", "the disks of this machine are still being copied")
            try:
                cut, sequence = self._cut_steady()
            except LOST as error:
                self._record.begin_again(str(error), cause_of(error))
                raise CommandFailed("resynchronisation-required", str(error)) from error
        point = f"{self.stream}-{sequence}"
        return {"recovery_point": point, "sequence": sequence, "begin_ns": cut.begin_ns, "end_ns": cut.end_ns}

    def resynchronise(self, reason: str = "requested") -> None:
        """Compare all disks with the replica and send what differs."""
        self._record.begin_again(reason)

    def drain(self, deadline: Deadline) -> int:
        """Wait until the other side has everything that was cut before now; return the number of its last document.

        Raises:
            CommandFailed: it did not happen in time.
        """
        with self._record.lock:
            last = self._session.value.next_sequence - 1
        try:
            wait_until(lambda: self._delivered(last), deadline, f"document {last} over there", every=0.1)
        except TimeoutError as error:
            raise CommandFailed("drain-timeout", str(error)) from error
        return last

    def _delivered(self, last: int) -> bool:
        return not self._record.waits(last) and self._outlet.has(last)

    def _forgiving(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:  # the machine or its hypervisor is gone: there is nothing left to clean up there
            log.exception("stream %s", self.stream)

    # The cutter

    def _cut_always(self) -> None:
        while self._schedule.wait_due(self._stop):
            application = self._schedule.application_due(time.monotonic())
            self._schedule.note(time.monotonic(), application=application)
            try:
                self._cut_once(application=application)
            except LOST as error:
                self._record.begin_again(str(error), cause_of(error))
            except Exception as error:  # the checkpoints keep the changes, the next cut takes them along
                log.exception("%s: no cut", self.stream)
                self._give_up_if_hopeless(error)

    def _cut_once(self, *, application: bool) -> None:
        with self._record.lock:
            if self._session.value.phase != STEADY or not self._record.opened or self._session.value.given_up:
                return
            if not (application and self._cut_quiet()):
                self._cut_steady()

    def _cut_quiet(self) -> bool:
        """Make an application-consistent cut; return False, and say why, where nobody inside quiets applications."""
        try:
            cut = self._capture.cut(freeze=True)
        except NotQuiet as error:
            self._telling.post("health", {"applications": str(error)})
            return False
        self._keep(cut, application=True)
        self._telling.post("health", {"applications": "ok"})
        return True

    def _cut_steady(self) -> tuple[Cut, int]:
        self._record.queue()
        cut = self._capture.cut()
        return cut, self._keep(cut)

    def _keep(self, cut: Cut, *, application: bool = False) -> int:
        last = self._record.keep(cut, application=application)
        self._schedule.note(time.monotonic())
        self._record.wake.set()
        return last

    # The sender

    def _send_always(self) -> None:
        while not self._stop.is_set():
            self._send_or_pause()

    def _send_or_pause(self) -> None:
        try:
            self._send_something()
            self._pauses.reset()
            if not self._session.value.given_up:
                self._say(OK)
        except Interrupted:
            log.info("stream %s: looking what is to be done", self.stream)
        except LOST as error:
            self._record.begin_again(str(error), cause_of(error))
            self._pauses.pause()
        except Exception as error:  # the changes wait; the retry class says whether trying again may help
            log.exception("%s: sending failed", self.stream)
            if not self._give_up_if_hopeless(error):
                self._say(f"to be tried again: {error}")
                self._pauses.pause()

    def _say(self, condition: str) -> None:
        """Tell the orchestrator how sending goes, when that has changed: a failure waits minutes to be tried again."""
        if condition != self._condition:
            self._condition = condition
            self._telling.post("health", {"replication": condition})

    def _give_up_if_hopeless(self, error: Exception) -> bool:
        if is_recoverable(error):
            return False
        self._session.update(given_up=str(error))
        self._say(f"given up: {error}")
        return True

    def _send_something(self) -> None:
        self._record.wake.clear()
        if self._session.value.given_up:
            self._record.wake.wait(IDLE_S)
            return
        queue = self._record.queue()
        if self._session.value.phase != STEADY:
            self._replicate_everything(queue)
            return
        with self._record.lock:
            # With the lock: a document counts only when its number is taken, or it would be given again after a crash.
            document = queue.oldest()
        if document is None:
            self._record.wake.wait(IDLE_S)
            return
        self._outlet.put(document.head.sequence, queue.body(document))
        queue.remove(document)

    def _replicate_everything(self, queue: HrlQueue) -> None:
        self._record.again.clear()
        self._wait_for_start()
        first = self._outlet.expected()
        blank = self._session.value.phase == COPY
        moment = self._record.begin(queue, first)
        copier = Copier(
            self._capture,
            self._record.disks,
            self._outlet,
            first=first,
            head_of=self._copy_head,
            progressed=lambda progress: self._telling.progress(self._session.value.phase, progress),
            document_bytes=COPY_BYTES,
            rooms=2,
        )
        if blank:
            copier.copy_everything()
        else:
            copier.copy_differences()
        self._outlet.wait_forwarded(copier.next_sequence - 1)
        self._record.complete(queue, moment, copier.next_sequence)

    def _wait_for_start(self) -> None:
        """An initial replication may have a time at which it begins (seed L101)."""
        while not self._session.value.completed:
            left = (self._session.value.order.start_at_ns - time.time_ns()) / 1e9
            if left <= 0:
                return
            if self._stop.wait(min(left, IDLE_S)) or self._record.again.is_set():
                raise Interrupted

    def _copy_head(self, sequence: int) -> Head:
        return Head(self.stream, sequence, "copy", self._session.value.order.machine, self._record.described)
