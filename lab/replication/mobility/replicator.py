"""Replication of this machine in one stream: copy, then cuts for ever, and again from the start if one was missed.

Two threads: the cutter makes a cut every interval, so that no change log overflows, whatever the network does; the
sender copies disks and sends what waits. What was cut and not sent yet is their ``Record``.
"""

from __future__ import annotations

import logging
import shutil
import ssl
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from lab.replication.changeset import Head
from lab.replication.common.control import CommandFailed
from lab.replication.common.durable import JSON
from lab.replication.common.outbox import Outbox
from lab.replication.mobility.capture import Cut, LoggingCapture
from lab.replication.mobility.copier import Copier
from lab.replication.mobility.group.member import Meeting
from lab.replication.mobility.hooks import FOLDER, quiet
from lab.replication.mobility.losses import LOST, cause_of
from lab.replication.mobility.record import Record
from lab.replication.mobility.schedule import Schedule
from lab.replication.mobility.session import COPY, STEADY, Session, SessionFile
from lab.replication.mobility.telling import Telling
from lab.replication.mobility.uplink import Interrupted, Uplink

log = logging.getLogger(__name__)

STOP_S = 60.0
IDLE_S = 5.0
CUT_TRIES = 5
RETRY_S = 2.0
FULL_ENOUGH = 0.5
"""A log that is so full is cut before its time: what is written while it is read out needs room in the other one."""


class Replicator:
    """Replicates in the stream of ``session``; changes wait under ``spool`` and may take ``quota`` bytes."""

    def __init__(
        self,
        capture: LoggingCapture,
        session: SessionFile[Session],
        *,
        machine: str,
        spool: Path,
        quota: int,
        context: ssl.SSLContext,
        outbox: Outbox,
        hooks: Path = FOLDER,
    ) -> None:
        order = session.value.order
        self._hooks = hooks
        self._schedule = Schedule.starting(
            time.monotonic(), order.interval_s, order.application_interval_s, group=order.group is not None
        )
        self._capture = capture
        self._session = session
        self._machine = machine
        self._stop = threading.Event()
        self._directory = spool / order.stream
        self._telling = Telling(outbox, machine, order.stream)
        self._record = Record(capture, session, self._telling, machine=machine, directory=self._directory, quota=quota)
        self._uplink = Uplink(
            order.process_server,
            context,
            order.stream,
            self._stop,
            interrupted=self._record.again.is_set,
            noted=lambda problem: self._telling.post("health", {"process_server": problem or "ok"}),
        )
        self._threads = [
            threading.Thread(target=self._cut_always, name="cutter", daemon=True),
            threading.Thread(target=self._send_always, name="sender", daemon=True),
        ]

    @property
    def stream(self) -> str:
        """The id of the stream."""
        return self._session.value.order.stream

    def start(self) -> None:
        """Go on where the last run stopped."""
        stopped = self._session.value.stopped
        self._session.update(stopped=False)
        if self._session.value.phase == STEADY:
            try:
                self._record.take_up(stopped=stopped)
            except LOST as error:
                self._record.begin_again(str(error), cause_of(error))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop; what waits stays on disk."""
        self._stop.set()
        self._record.wake.set()
        self._uplink.abort()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(STOP_S)
        self._uplink.close()
        self._session.update(stopped=True)

    def delete(self) -> None:
        """Stop, and forget the stream."""
        self.close()
        self._session.delete()
        shutil.rmtree(self._directory, ignore_errors=True)

    def cut(self) -> JSON:
        """Make a recovery point now; return its id, sequence and times.

        Raises:
            CommandFailed: the disks are still being copied, or changes were lost.
        """
        self._require_steady()
        try:
            cut, sequence = self._cut_to_a_point()
        except LOST as error:
            self._record.begin_again(str(error), cause_of(error))
            raise CommandFailed("resynchronisation-required", str(error)) from error
        point = f"{self.stream}-{sequence}"
        return {"recovery_point": point, "sequence": sequence, "begin_ns": cut.begin_ns, "end_ns": cut.end_ns}

    def shared_cut(self, meeting: Meeting, *, application: bool) -> None:
        """Cut together with other machines, and keep the changes with the instant that was agreed on.

        Raises:
            CommandFailed: the disks are still being copied, changes were lost, or applications are not quiet.
            Abandoned: the others did not come.
        """
        self._require_steady()
        try:
            with self._record.lock:
                with self._quiet(application=application):
                    cut = self._capture.cut(meeting, freeze=application)
                self._keep_steady(cut, shared=meeting.agree(cut), application=application)
        except LOST as error:
            self._record.begin_again(str(error), cause_of(error))
            raise CommandFailed("resynchronisation-required", str(error)) from error

    def _require_steady(self) -> None:
        # Who hears that the copy is complete may ask at once: the lock is held from that word to the new phase.
        with self._record.lock:
            if self._session.value.phase != STEADY:
                raise CommandFailed("not-replicating-yet", "the disks of this machine are still being copied")

    def _cut_to_a_point(self) -> tuple[Cut, int]:
        for _ in range(CUT_TRIES):
            with self._record.lock:
                cut, sequence = self._cut_steady()
                if self._capture.is_instant(cut):
                    return cut, sequence
        raise CommandFailed("no-instant", f"none of {CUT_TRIES} cuts was certain: the disks are written too fast")

    def resynchronise(self, reason: str = "requested") -> None:
        """Compare all disks with the replica and send what differs."""
        self._record.begin_again(reason)

    # The cutter

    def _cut_always(self) -> None:
        while self._schedule.wait_due(self._stop, self._logs_fill_up):
            application = self._schedule.application_due(time.monotonic())
            self._schedule.note(time.monotonic(), application=application)
            try:
                self._cut_once(application=application)
            except LOST as error:
                self._record.begin_again(str(error), cause_of(error))
            except Exception:  # the log keeps the changes, the next cut takes them along
                log.exception("no cut")

    def _logs_fill_up(self) -> bool:
        """Whether a log could run out of space before the interval is over."""
        with self._record.lock:
            if not self._record.goes_on:
                return False
            try:
                return self._capture.fullness() >= FULL_ENOUGH
            except Exception:  # whatever it is, the cut at the end of the interval says so
                log.exception("nobody knows how full the logs are")
                return False

    def _cut_once(self, *, application: bool) -> None:
        with self._record.lock:
            self._record.look_for_growth()
            if not self._record.goes_on:
                return
            if self._session.value.phase != STEADY:
                self._record.keep_aside(self._capture.cut())
            elif not (application and self._cut_quiet()):
                self._cut_steady()

    def _cut_quiet(self) -> bool:
        """Make an application-consistent cut; return False where applications do not keep quiet."""
        try:
            with self._quiet(application=True):
                cut = self._capture.cut(freeze=True)
        except CommandFailed as error:
            self._telling.post("health", {"applications": str(error)})
            return False
        self._keep_steady(cut, application=True)
        self._telling.post("health", {"applications": "ok"})
        return True

    def _quiet(self, *, application: bool) -> AbstractContextManager[None]:
        return quiet(self._hooks) if application else nullcontext()

    def _cut_steady(self) -> tuple[Cut, int]:
        with self._record.lock:
            cut = self._capture.cut()
            return cut, self._keep_steady(cut)

    def _keep_steady(self, cut: Cut, *, shared: str | None = None, application: bool = False) -> int:
        last = self._record.keep(cut, shared=shared, application=application)
        self._schedule.note(time.monotonic())
        return last

    # The sender

    def _send_always(self) -> None:
        while not self._stop.is_set():
            try:
                if self._session.value.phase == STEADY:
                    self._send_oldest()
                else:
                    self._replicate_everything()
            except Interrupted:
                log.info("stream %s: looking what is to be done", self.stream)
            except LOST as error:
                self._record.begin_again(str(error), cause_of(error))
                self._stop.wait(RETRY_S)
            except Exception:  # whatever it is, the changes wait on disk and the next attempt may work
                log.exception("sending failed")
                self._stop.wait(RETRY_S)

    def _send_oldest(self) -> None:
        self._record.wake.clear()
        queue = self._record.queue
        document = queue.oldest()
        if document is None:
            self._record.wake.wait(IDLE_S)
            return
        self._uplink.put(document.head.sequence, queue.body(document))
        queue.remove(document)

    def _replicate_everything(self) -> None:
        self._record.again.clear()
        self._record.look_for_growth()
        if self._record.outgrown:
            # A new order comes with the new sizes once the replica has been grown.
            self._stop.wait(IDLE_S)
            return
        # Asked first: there is no sense in recording while nobody takes the copy.
        first = self._uplink.expected()
        blank = self._session.value.phase == COPY
        self._record.begin(first)
        copier = Copier(
            self._capture,
            self._record.disks,
            self._uplink,
            first=first,
            head_of=self._copy_head,
            progressed=lambda progress: self._telling.progress(self._session.value.phase, progress),
        )
        if blank:
            copier.copy_everything()
        else:
            copier.copy_differences()
        self._uplink.wait_forwarded(copier.next_sequence - 1)
        self._record.complete(copier.next_sequence)

    def _copy_head(self, sequence: int) -> Head:
        return Head(self.stream, sequence, "copy", self._machine, self._record.described)
